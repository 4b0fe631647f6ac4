/* Whose word a comment is. What runs inside a statement is judged as asked for by whom the comment of
 * the client's message names (agent/identity/claims.py), which no key of its own text and no class of
 * the session tells: what may pass without a hold then depends on that message's text too. */
#ifndef PGWARDEN_CLAIMS_BPF_H
#define PGWARDEN_CLAIMS_BPF_H

#include "plans.bpf.h"

#define CLAIM_CHUNK_BYTES 32 /* with a NUL */
#define EVERY_BYTE 0x0101010101010101
#define NO_CLAIM 0
#define CLAIM_OF_TEXT 1
#define CLAIM_OF_MESSAGE 2 /* nobody knows of its text whether it has a comment */

/* Whether a comment ends in this part of a text. */
INLINE __u64 ends_comment(__u64 *part)
{
	__u64 found = 0;
	for (int i = 0; i < CLAIM_CHUNK_BYTES / 8; i++) {
		__u64 behind = part[i] >> 8 | (i < 3 ? part[i + 1] << 56 : 0);
		__u64 pair = (part[i] ^ EVERY_BYTE * '*') | (behind ^ EVERY_BYTE * '/');
		found |= (pair - EVERY_BYTE) & ~pair & EVERY_BYTE << 7; /* a byte of it is zero */
	}
	return found;
}

/* So much of the text at what->cell, on to what->mix, and whether a comment ended to what->claim; 0 at
 * its end. It is one part of the way, as hash_part. */
SEPARATE int read_claim_part(struct session_state *session)
{
	if (!session)
		return 0;
	struct occasion *what = &session->occasion;
	struct sip s = what->mix;
	__u64 text = what->cell, comments = what->claim;
	int more = 1;
#pragma clang loop unroll(disable)
	for (int i = 0; i < CLAIM_CHUNKS_IN_PART; i++) {
		__u64 part[CLAIM_CHUNK_BYTES / 8] = {};
		long got = bpf_probe_read_user_str(part, CLAIM_CHUNK_BYTES, (void *)text);
		for (int word = 0; word < CLAIM_CHUNK_BYTES / 8; word++)
			sip_word(&s, part[word]);
		comments |= ends_comment(part);
		if (got < CLAIM_CHUNK_BYTES) {
			what->cells = got <= 0; /* or not to be read */
			more = 0;
			break;
		}
		text += CLAIM_CHUNK_BYTES - 2; /* one letter twice: no mark is cut in two */
	}
	what->mix = s;
	what->cell = text;
	what->claim = comments;
	return more;
}

/* Fills what->claim: 0 for a text without comments, another one for each text with some. */
SEPARATE int read_claim(struct config *config, struct session_state *session, __u64 text)
{
	if (!config || !session)
		return NO_CLAIM;
	struct occasion *what = &session->occasion;
	struct text_key number;
	struct sip s;
	sip_begin(&s, config);
	what->mix = s;
	what->cell = text;
	what->cells = 1;
	what->claim = 0;
#pragma clang loop unroll(disable)
	for (int i = 0; i < CLAIM_CHUNKS; i += CLAIM_CHUNKS_IN_PART)
		if (!read_claim_part(session))
			break;
	int whole = !what->cells;
	if (whole && !what->claim)
		return NO_CLAIM;
	s = what->mix;
	if (!whole) {
		sip_word(&s, what->requested_us);
		sip_word(&s, session->round);
		sip_word(&s, bpf_get_current_pid_tgid());
	}
	sip_end(&s, &number);
	what->claim = number.low | 1;
	return whole ? CLAIM_OF_TEXT : CLAIM_OF_MESSAGE;
}

/* Takes the comment of the client's message into what->touched. `own`: the text of such a portal as
 * clients open, which counts by itself where it is just what the message asks for. */
SEPARATE int mix_claim(struct config *config, struct session_state *session, __u64 base, __u64 own)
{
	if (!config || !session)
		return 0;
	struct occasion *what = &session->occasion;
	__u64 asked = read_u64(base + config->debug_query_string);
	if (!session->claim_us || session->claim_us != what->requested_us ||
	    session->claim_text != asked) {
		session->claim_kind = read_claim(config, session, asked);
		session->claim = what->claim;
		session->claim_us = what->requested_us;
		session->claim_text = asked;
	}
	if (own && session->claim_kind == CLAIM_OF_TEXT &&
	    read_claim(config, session, own) == CLAIM_OF_TEXT && what->claim == session->claim)
		return 1;
	what->touched ^= session->claim;
	return 1;
}

#endif
