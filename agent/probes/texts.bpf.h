/* Texts by key: what user space has seen before need not be sent, nor be judged, again.
 *
 * The key is SipHash-1-3 with 128 bits of result (Aumasson, Bernstein 2012), with a secret that is
 * made anew for each instance: who writes statements cannot look for two with one key. The text is
 * taken in words of eight bytes, the last one filled with zeros, and the length behind it.
 */
#ifndef PGWARDEN_TEXTS_BPF_H
#define PGWARDEN_TEXTS_BPF_H

#include "sessions.bpf.h"

/* From the compiler, which would turn an index that the verifier can follow into a pointer that it
 * cannot. */
#define HIDE(value) asm volatile("" : "+r"(value))

#define ROTATE(x, bits) (((x) << (bits)) | ((x) >> (64 - (bits))))

INLINE void sip_round(struct sip *s)
{
	s->v0 += s->v1;
	s->v1 = ROTATE(s->v1, 13) ^ s->v0;
	s->v0 = ROTATE(s->v0, 32);
	s->v2 += s->v3;
	s->v3 = ROTATE(s->v3, 16) ^ s->v2;
	s->v0 += s->v3;
	s->v3 = ROTATE(s->v3, 21) ^ s->v0;
	s->v2 += s->v1;
	s->v1 = ROTATE(s->v1, 17) ^ s->v2;
	s->v2 = ROTATE(s->v2, 32);
}

INLINE void sip_begin(struct sip *s, struct config *config)
{
	s->v0 = config->hash_key_high ^ 0x736f6d6570736575;
	s->v1 = config->hash_key_low ^ 0x646f72616e646f6d ^ 0xee;
	s->v2 = config->hash_key_high ^ 0x6c7967656e657261;
	s->v3 = config->hash_key_low ^ 0x7465646279746573;
}

INLINE void sip_word(struct sip *s, __u64 word)
{
	s->v3 ^= word;
	sip_round(s);
	s->v0 ^= word;
}

INLINE void sip_end(struct sip *s, struct text_key *key)
{
	s->v2 ^= 0xee;
	for (int i = 0; i < 3; i++)
		sip_round(s);
	key->high = s->v0 ^ s->v1 ^ s->v2 ^ s->v3;
	s->v1 ^= 0xdd;
	for (int i = 0; i < 3; i++)
		sip_round(s);
	key->low = s->v0 ^ s->v1 ^ s->v2 ^ s->v3;
}

/* So many words of the kept text, from one of them on; 0 at its end. It is one part of the way, as
 * measure_part: the verifier walks once through the loop of a part, not through that of the whole. */
SEPARATE int hash_part(struct session_state *session, struct sip *sum, __u32 first, __u32 bytes)
{
	if (!session || !sum)
		return 0;
	struct sip s = *sum;
	int more = 1;
#pragma clang loop unroll(disable)
	for (__u32 i = 0; i < WORDS_IN_PART; i++) {
		__u32 at = first + i;
		if (at * 8 >= bytes) {
			more = 0;
			break;
		}
		HIDE(at);
		__u64 word = ((__u64 *)session->kept)[at & (HASHED_BYTES / 8 - 1)];
		__u32 left = bytes - at * 8;
		if (left < 8) /* behind it lies the end of an earlier text */
			word &= ((__u64)1 << left * 8) - 1;
		sip_word(&s, word);
	}
	*sum = s;
	return more;
}

/* Copies the text into the session's state and makes its key. 0: too long, or not to be read. */
SEPARATE int keep_text(struct config *config, struct session_state *session, __u64 text)
{
	if (!config || !session)
		return 0;
	session->text_key.high = session->text_key.low = 0;
	session->text_id = 0;
	session->kept_bytes = 0;
	if (!text)
		return 0;
	long got = bpf_probe_read_user_str(session->kept, TEXT_KEPT, (void *)text);
	if (got <= 1)
		return 0;
	__u32 bytes = got - 1, limit = session->occasion.limit;
	if (limit && bytes > limit)
		bytes = limit;
	if (bytes >= HASHED_BYTES - 1)
		return 0;
	struct sip s;
	sip_begin(&s, config);
#pragma clang loop unroll(disable)
	for (__u32 first = 0; first < HASHED_BYTES / 8; first += WORDS_IN_PART)
		if (!hash_part(session, &s, first, bytes))
			break;
	sip_word(&s, bytes);
	sip_end(&s, &session->text_key);
	session->kept_bytes = bytes;
	return 1;
}

INLINE struct known_text *find_text(struct session_state *session)
{
	struct text_key key = session->text_key;
	return LOOKUP(texts, &key);
}

/* On the way through a text: `in_number` and `joined` say what its last byte was part of. */
struct skeleton_walk {
	struct sip s;
	__u64 in_number;
	__u64 joined;
};

/* So many bytes, from one of them on; 0 at the end. Without a branch: the verifier walks through
 * every iteration, and each would double it. */
SEPARATE int skeleton_part(struct config *config, struct session_state *session,
			   struct skeleton_walk *walk, __u32 first)
{
	if (!config || !session || !walk)
		return 0;
	__u32 bytes = session->kept_bytes;
	struct sip s = walk->s, next;
	__u64 in_number = walk->in_number, joined = walk->joined;
	int more = 1;
#pragma clang loop unroll(disable)
	for (__u32 i = 0; i < BYTES_IN_PART; i++) {
		__u32 at = first + i;
		if (at >= bytes) {
			more = 0;
			break;
		}
		HIDE(at);
		__u64 byte = session->kept[at & (SKELETON_BYTES - 1)];
		__u64 class = config->byte_classes[byte & 255];
		__u64 digit = class & BYTE_DIGIT;
		__u64 more_digits = digit & in_number; /* of a number that stands there as 0 already */
		in_number = digit & (joined ^ 1);
		joined = (joined & digit) | class >> 1;
		__u64 word = byte ^ ((byte ^ '0') & -in_number);
		next = s;
		next.v3 ^= word;
		sip_round(&next);
		next.v0 ^= word;
		s.v0 = next.v0 ^ ((s.v0 ^ next.v0) & -more_digits);
		s.v1 = next.v1 ^ ((s.v1 ^ next.v1) & -more_digits);
		s.v2 = next.v2 ^ ((s.v2 ^ next.v2) & -more_digits);
		s.v3 = next.v3 ^ ((s.v3 ^ next.v3) & -more_digits);
	}
	walk->s = s;
	walk->in_number = in_number;
	walk->joined = joined;
	return more;
}

/* The key of the text with every number that stands alone made 0. Two texts with one skeleton
 * differ in such numbers only; agent/sql decides for which texts that cannot matter. Zero where the
 * text is too long for it. */
SEPARATE int make_skeleton(struct config *config, struct session_state *session)
{
	if (!config || !session)
		return 0;
	__u32 bytes = session->kept_bytes;
	if (!bytes || bytes > SKELETON_BYTES)
		return 0;
	struct skeleton_walk walk = {};
	sip_begin(&walk.s, config);
#pragma clang loop unroll(disable)
	for (__u32 first = 0; first < SKELETON_BYTES; first += BYTES_IN_PART)
		if (!skeleton_part(config, session, &walk, first))
			break;
	sip_end(&walk.s, &session->occasion.skeleton);
	return 1;
}

/* What rules can see of the session, as a number; 0: none that holds. */
INLINE __u32 find_class(struct session_state *session)
{
	__u32 pid = bpf_get_current_pid_tgid() >> 32;
	struct session_class *class = LOOKUP(classes, &pid);
	if (class && class->session_us == session->session_us && class->naming == session->naming)
		return class->class;
	return 0;
}

/* Judged before, with the same rules, the same facts about the session and the same relations, and
 * not stopped. */
INLINE int is_allowed(struct config *config, struct session_state *session)
{
	struct occasion *what = &session->occasion;
	what->class = find_class(session);
	struct allowance question = {};
	question.text = session->text_key;
	question.class = what->class;
	question.touched = what->touched;
	if (LOOKUP(allowances, &question))
		return 1;
	if (!make_skeleton(config, session))
		return 0;
	question.text = what->skeleton;
	question.skeleton = 1;
	return LOOKUP(allowances, &question) != 0;
}

#endif
