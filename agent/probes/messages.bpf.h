/* Where the messages of an answer begin and end, however writes cut them: rows hold bytes of the
 * client's choice, so what ends a statement is known for certain only by following every message from
 * one whose beginning is known. Of each only the header is looked at.
 *
 * A part of the answer is copied and walked through there: a helper for each header would cost several
 * times as much. It lies in the session's state: a program may be preempted by that of another backend,
 * which must not overwrite it. */
#ifndef PGWARDEN_MESSAGES_BPF_H
#define PGWARDEN_MESSAGES_BPF_H

#include "texts.bpf.h"

#define HEADER_BYTES 5 /* tag and length */
#define WINDOW_MESSAGES (WINDOW_BYTES / HEADER_BYTES + 1)
#define WINDOWS (SEND_BUFFER_BYTES / (WINDOW_BYTES - HEADER_BYTES) + 1)

INLINE void lose_step(struct stream *stream)
{
	stream->in_step = stream->counted = 0;
}

#define TAG_BIT(tag) ((__u64)1 << ((tag) & 63)) /* all tags lie between 64 and 127 */
#define ERROR TAG_BIT('E')
/* CommandComplete, PortalSuspended, FunctionCallResponse: one for each statement that has started. */
#define ENDS (TAG_BIT('C') | TAG_BIT('s') | TAG_BIT('V'))

INLINE __u64 is_one_of(__u64 tags, __u64 tag)
{
	return tags >> (tag & 63) & tag >> 6;
}

/* From the compiler, which would carry on what it knows of a value: read again it is unknown to the
 * verifier, for whom the ways that lead there are one then. */
#define AGAIN(value) (*(volatile __typeof__(value) *)&(value))

/* The length at this place in the window, in one load: the compiler would take four, for it may lie
 * anywhere. */
INLINE __u64 length_at(__u8 *place)
{
	HIDE(place);
	return __builtin_bswap32(*(__u32 *)place);
}

/* Rows are most of an answer; of them nothing but the length is looked at. 1: there may be more. It
 * is one part of the way, as measure_part. */
SEPARATE int skip_some_rows(struct session_state *session)
{
	if (!session)
		return 0;
	struct stream *stream = &session->stream;
	__u64 at = stream->moved, readable = stream->readable;
	int more = 1;
#pragma clang loop unroll(disable)
	for (int i = 0; i < MESSAGES_IN_PART; i++) {
		__u64 place = at;
		HIDE(place);
		place &= WINDOW_BYTES - 1;
		/* DataRow or CopyData */
		if (at + HEADER_BYTES > readable || (stream->window[place] | 32) != 'd') {
			more = 0;
			break;
		}
		at += 1 + length_at(&stream->window[place + 1]);
	}
	stream->moved = at;
	return more;
}

SEPARATE int skip_rows(struct session_state *session)
{
#pragma clang loop unroll(disable)
	for (int i = 0; i < ROWS_AT_ONCE; i += MESSAGES_IN_PART)
		if (!skip_some_rows(session))
			break;
	return 0;
}

/* Any message. Without a branch, as skeleton_part. */
INLINE void pass_message(struct stream *stream, __u64 at)
{
	HIDE(at);
	at &= WINDOW_BYTES - 1;
	__u64 tag = stream->window[at];
	__u64 next = AGAIN(stream->moved) + 1 + length_at(&stream->window[at + 1]);
	__u64 is_cut = (stream->behind - next) >> 63;
	__u64 ends = is_one_of(ENDS, tag), error = is_one_of(ERROR, tag);
	stream->endings += ends & ~is_cut;
	stream->failed |= error & ~is_cut;
	stream->cut |= tag & -((ends | error) & is_cut);
	stream->telling |= ends | error;
	stream->moved = next;
}

/* 1: there may be more. */
SEPARATE int follow_some(struct session_state *session)
{
	if (!session)
		return 0;
	struct stream *stream = &session->stream;
#pragma clang loop unroll(disable)
	for (int i = 0; i < MESSAGES_IN_PART; i++) {
		if (ROWS_AT_ONCE)
			skip_rows(session);
		__u64 at = AGAIN(stream->moved);
		if (at + HEADER_BYTES > AGAIN(stream->readable))
			return 0;
		pass_message(stream, at);
	}
	return 1;
}

/* Follows the messages that begin in the window, and says in `moved` where the next one begins. */
SEPARATE int follow_window(struct session_state *session)
{
	if (!session)
		return 0;
	session->stream.moved = 0;
#pragma clang loop unroll(disable)
	for (int i = 0; i < MESSAGES_AT_ONCE; i += MESSAGES_IN_PART)
		if (!follow_some(session))
			break;
	return 0;
}

/* The rest of a header that the end of the write before cut. */
INLINE int complete_header(struct stream *stream, __u64 start, __u64 bytes)
{
	__u64 had = stream->header_bytes, missing = HEADER_BYTES - had;
	if (had >= HEADER_BYTES || bytes < missing)
		return 0;
	HIDE(missing);
	if (bpf_probe_read_user(stream->header + had, missing & 7, (void *)start))
		return 0;
	stream->left = 1 + length_at(&stream->header[1]) - had;
	stream->header_bytes = 0;
	return 1;
}

/* Of a header that this write's end cuts. */
INLINE int keep_header(struct stream *stream, __u64 rest, __u64 bytes)
{
	if (bytes >= HEADER_BYTES)
		return 0; /* it was not followed so far */
	HIDE(bytes); /* the mask is for the verifier: it must stay */
	if (bpf_probe_read_user(stream->header, bytes & 7, (void *)rest))
		return 0;
	stream->header_bytes = bytes;
	if (is_one_of(ENDS | ERROR, stream->header[0]))
		stream->telling = stream->cut = stream->header[0];
	return 1;
}

INLINE int read_window(struct stream *stream, __u64 start)
{
	__u64 readable = stream->behind;
	if (readable > WINDOW_BYTES)
		readable = WINDOW_BYTES;
	stream->readable = readable;
	HIDE(readable);
	if (readable > WINDOW_BYTES)
		return 0;
	return !bpf_probe_read_user(stream->window, readable, (void *)start);
}

/* From `at` on: a message begins there. */
SEPARATE int follow_windows(struct session_state *session, __u64 start, __u64 bytes, __u64 at)
{
	if (!session)
		return 0;
	struct stream *stream = &session->stream;
#pragma clang loop unroll(disable)
	for (int i = 0; i < WINDOWS; i++) {
		if (at + HEADER_BYTES > bytes)
			break;
		stream->behind = bytes - at;
		if (!read_window(stream, start + at))
			return 0;
		follow_window(session);
		at += AGAIN(stream->moved);
	}
	if (at < bytes)
		return keep_header(stream, start + at, bytes - at);
	stream->left = at - bytes;
	return 1;
}

/* Each write of a round trip that is not simple, but of walsenders: what they stream has no end. */
SEPARATE int follow(struct session_state *session)
{
	if (!session)
		return 0;
	struct stream *stream = &session->stream;
	__u64 start = session->writing.start, bytes = session->writing.bytes;
	stream->begins = UNKNOWN;
	stream->telling = stream->failed = 0;
	if (session->walsender)
		return 0;
	if (session->writing.aligned) {
		stream->in_step = 1;
		stream->left = stream->header_bytes = stream->cut = 0;
	}
	if (!stream->in_step)
		return 0;
	if (stream->header_bytes && !complete_header(stream, start, bytes)) {
		lose_step(stream);
		return 0;
	}
	stream->telling = stream->cut != 0;
	__u64 at = stream->left;
	stream->begins = at < bytes ? at : bytes;
	if (at > bytes) {
		stream->left = at - bytes;
		return 0;
	}
	stream->endings += is_one_of(ENDS, stream->cut);
	stream->failed = is_one_of(ERROR, stream->cut);
	stream->left = stream->cut = 0;
	if (!follow_windows(session, start, bytes, at))
		lose_step(stream);
	return 0;
}

#endif
