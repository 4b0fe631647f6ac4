/* Built-in functions that reach beyond their database (agent/probes/calls.txt), at their own entry:
 * what calls them may stand in no text and no plan. Probed only while rules could refuse them. */
#ifndef PGWARDEN_CALLS_BPF_H
#define PGWARDEN_CALLS_BPF_H

#include "nested.bpf.h"

/* FunctionCallInfoBaseData, the same since PostgreSQL 12: from 32 on a value and whether it is NULL
 * for each argument, 16 bytes each. */
#define CALL_ARGUMENTS 32
#define CALL_ARGUMENT_BYTES 16
#define CALL_WORDS 16 /* of a text that makes part of a key */

/* Where the text lies, and its length; CALL_UNKNOWN: it is NULL, compressed, elsewhere, or not to be
 * read. The first byte of a varlena says which. */
INLINE __u32 find_argument(__u64 info, __u32 index, __u64 *text)
{
	__u64 place = info + CALL_ARGUMENTS + index * CALL_ARGUMENT_BYTES;
	__u8 missing = 1, head = 0;
	bpf_probe_read_user(&missing, sizeof(missing), (void *)(place + 8));
	if (missing)
		return CALL_UNKNOWN;
	__u64 datum = read_u64(place);
	bpf_probe_read_user(&head, sizeof(head), (void *)datum);
	if (head & 1) {
		*text = datum + 1;
		return head == 1 ? CALL_UNKNOWN : (head >> 1) - 1;
	}
	__u32 length = 0;
	bpf_probe_read_user(&length, sizeof(length), (void *)datum);
	*text = datum + 4;
	return length & 3 || length >> 2 < 4 ? CALL_UNKNOWN : (length >> 2) - 4;
}

/* The key of a call, in `what->skeleton`: of the function and its first text (`what->text`,
 * `what->limit`). No text has it: none is as long as the last word says. 0: the text is too long, or
 * not known. */
SEPARATE int key_of_builtin(struct config *config, struct session_state *session)
{
	__u64 words[CALL_WORDS] = {};
	struct sip s;
	if (!config || !session)
		return 0;
	struct occasion *what = &session->occasion;
	__u32 bytes = what->limit;
	if (bytes >= sizeof(words))
		return 0;
	HIDE(bytes); /* the mask is for the verifier: it must stay */
	if (bpf_probe_read_user(words, bytes & (sizeof(words) - 1), (void *)what->text))
		return 0;
	sip_begin(&s, config);
	for (int i = 0; i < CALL_WORDS; i++)
		sip_word(&s, words[i]);
	sip_word(&s, bytes);
	sip_word(&s, what->row_limit);
	sip_word(&s, RECORD_CALL);
	sip_word(&s, ~(__u64)0);
	sip_end(&s, &what->skeleton);
	return 1;
}

INLINE int is_call_allowed(struct session_state *session)
{
	struct allowance question = {};
	question.text = session->occasion.skeleton;
	question.class = find_class(session);
	question.touched = session->occasion.touched;
	return LOOKUP(allowances, &question) != 0;
}

/* The length of what was copied. */
INLINE __u32 copy_argument(void *place, __u64 text, __u32 bytes)
{
	if (bytes >= CALL_BYTES)
		return CALL_UNKNOWN;
	HIDE(bytes); /* the mask is for the verifier: it must stay */
	if (bpf_probe_read_user(place, bytes & (CALL_BYTES - 1), (void *)text))
		return CALL_UNKNOWN;
	return bytes;
}

INLINE void send_call(struct session_state *session, __u64 value, __u32 value_bytes)
{
	struct occasion *what = &session->occasion;
	struct statement_record *record = reserve(session, 1, sizeof(*record) + 2 * CALL_BYTES);
	if (!record) {
		count_lost(session, 1, LOSS_URGENT_STATEMENT);
		return;
	}
	char *place = (char *)(record + 1);
	record->text_bytes = copy_argument(place, what->text, what->limit);
	record->full_bytes = copy_argument(place + CALL_BYTES, value, value_bytes);
	record->text_state = TEXT_WHOLE;
	finish_statement(session, what, record);
}

/* Its first text decides with the function whether it was judged before; the one behind it is only
 * told. */
INLINE void start_builtin(struct config *config, struct session_state *session,
			  struct function *function, __u64 info)
{
	struct occasion *what = new_occasion(config, session->base, session);
	__u64 text = 0, value = 0;
	__u32 value_bytes = CALL_UNKNOWN;
	what->row_limit = function->number;
	if (function->text != NO_TEXT) {
		what->limit = find_argument(info, function->text, &text);
		value_bytes = find_argument(info, function->text + 1, &value);
	}
	what->text = text;
	mix_claim(config, session, session->base, 0);
	int keyed = key_of_builtin(config, session);
	if (keyed && is_call_allowed(session))
		return;
	what->hold = 1;
	require_judge(what);
	if (!what->hold)
		return;
	/* From here on the state is no longer that of the statement that calls it. */
	tell_pending(session);
	session->text = 0;
	session->text_id = 0;
	session->kept_bytes = 0;
	session->row_limit = 0;
	session->text_key = what->skeleton;
	what->skeleton.high = what->skeleton.low = 0;
	what->kind = RECORD_CALL;
	what->depth = session->level + 1;
	what->quiet = 1; /* told only if it is refused */
	what->urgent = session->urgent = 1;
	if (!session->announced)
		announce(config, session->base, session, 1);
	send_call(session, value, value_bytes);
}

#endif
