/* Capture of PostgreSQL's client backends.
 *
 * Two hits for each execution: PortalRun when it starts, secure_write when it is answered. Where one
 * statement makes a round trip and does not fail, the second hit tells all of it in one record, and
 * a text that user space knows goes by its number. The rest fires rarely. Everything that is not a client backend of a watched cluster leaves early, and
 * parsing is left to user space. No kernel struct is read: globals of the server are found by their
 * distance from the probed function.
 */
#include "calls.bpf.h"
#include "executions.bpf.h"
#include "nested.bpf.h"

PROBE("uprobe")
int on_portal_run(struct pt_regs *ctx)
{
	struct config *config = find_config();
	if (!config)
		return 0;
	__u64 base = PT_REGS_IP(ctx) - config->entry_portal_run;
	struct session_state *session = enter(config, base);
	if (!session)
		return 0;
	__u64 portal = PT_REGS_PARM1(ctx);
	struct occasion *what = new_occasion(config, base, session);
	what->portal = portal;
	what->text = read_u64(portal + config->portal_source_text);
	what->row_limit = PT_REGS_PARM2(ctx) < ~0U ? PT_REGS_PARM2(ctx) : 0; /* FETCH_ALL: LONG_MAX */
	what->continued = goes_on(config, portal);
	/* What SQL EXECUTE runs is judged where its query or command starts. */
	int inner = config->inside && is_deeper(session, what, PT_REGS_SP(ctx)) && is_named(portal) &&
		    what->text != read_u64(base + config->debug_query_string);
	if (!inner && is_judged(session)) {
		what->judged = 1;
		/* Only clients open portals without a name. */
		what->part = is_named(portal) ? PART_NONE : PART_CLIENTS;
		what->planned = read_u64(portal + config->portal_statements);
		what->planned_list = 1;
		see_plan(config, session);
	}
	start_statement(config, base, session, PT_REGS_SP(ctx), what);
	return 0;
}

PROBE("uprobe")
int on_fastpath(struct pt_regs *ctx)
{
	struct config *config = find_config();
	if (!config)
		return 0;
	__u64 base = PT_REGS_IP(ctx) - config->entry_fastpath;
	struct session_state *session = enter(config, base);
	if (!session)
		return 0;
	struct occasion *what = new_occasion(config, base, session);
	what->protocol = PROTOCOL_FASTPATH;
	what->row_limit = called_function(PT_REGS_PARM1(ctx));
	what->judged = is_judged(session);
	start_call(config, session, PT_REGS_SP(ctx), what);
	return 0;
}

PROBE("uprobe")
int on_replication(struct pt_regs *ctx)
{
	struct config *config = find_config();
	if (!config)
		return 0;
	__u64 base = PT_REGS_IP(ctx) - config->entry_replication;
	struct session_state *session = enter(config, base);
	if (!session)
		return 0;
	struct occasion *what = new_occasion(config, base, session);
	what->protocol = PROTOCOL_REPLICATION;
	what->text = PT_REGS_PARM1(ctx);
	start_replication(config, session, PT_REGS_SP(ctx), what);
	return 0;
}

PROBE("uprobe")
int on_report_appname(struct pt_regs *ctx)
{
	struct session_state *session = find_session();
	if (!session)
		return 0;
	tell_pending(session); /* it began under the former name */
	session->naming += 1; /* what was allowed to the former name is judged anew */
	if (!session->announced)
		return 0; /* the session record will bring it */
	struct application_record *record = reserve(session, 0, sizeof(*record));
	if (!record) {
		count_loss(LOSS_APPLICATION);
		session->announced = 0; /* the next hit tries again, with a session record */
		return 0;
	}
	fill_head(&record->head, RECORD_APPLICATION, session->session_us);
	record->naming = session->naming;
	record->padding = 0;
	record->application[0] = 0;
	bpf_probe_read_user_str(record->application, NAME_BYTES, (void *)PT_REGS_PARM1(ctx));
	SUBMIT(records, record, wakeup());
	return 0;
}

PROBE("uprobe")
int on_secure_write(struct pt_regs *ctx)
{
	struct config *config = find_config();
	if (!config)
		return 0;
	__u64 base = PT_REGS_IP(ctx) - config->entry_secure_write;
	struct session_state *session = find_session();
	if (!session) {
		session = meet(config, base, 0);
		if (!session)
			return 0;
		/* Authentication is over, but BackendKeyData, the cancel key, is yet to come. */
		if (read_u8(PT_REGS_PARM2(ctx)) == 'R')
			session->starting = 1;
	}
	struct writing *write = new_writing(session, PT_REGS_PARM2(ctx), PT_REGS_PARM3(ctx));
	if (!write)
		return 0;
	write->ready = read_ready(config, base, session, write);
	if (session->starting) {
		/* Nothing of the start-up is ever copied. */
		if (write->ready) {
			session->starting = 0;
			session->aligned = 1;
			session->stream.counted = !session->walsender;
			session->transaction = write->ready;
			announce(config, base, session, session->urgent);
		}
		return 0;
	}
	if (!session->announced)
		announce(config, base, session, session->urgent);

	session->bytes += write->bytes;
	write->aligned = session->aligned;
	write->flushed = write->bytes < SEND_BUFFER_BYTES;
	session->aligned = write->ready || write->flushed;
	if (is_simple(session, write)) {
		tell_execution(config, session, write);
		session->transaction = write->ready;
		begin_round_trip(session);
		return 0;
	}
	follow(session);
	session->flushed |= write->flushed && !write->ready;
	if (write->flushed || write->ready || session->stream.telling)
		tell_pending(session);
	if (worth_sending(session, write)) {
		write->requested_us = session->starts ? session->requested_us : 0;
		if (brings_error(session, write))
			report_failed(config, base, session, write);
		if (!send_response(session, write))
			count_lost_answer(session, write);
	}
	session->writes += 1;
	if (write->ready) {
		session->transaction = write->ready;
		begin_round_trip(session);
	} else
		keep_carry(session, write);
	return 0;
}

#if !defined(PGWARDEN_BCC) || defined(PGWARDEN_NESTED) /* bcc compiles it on each start */

PROBE("uprobe")
int on_executor_start(struct pt_regs *ctx)
{
	struct config *config = find_config();
	if (!config || PT_REGS_PARM2(ctx) & EXPLAIN_ONLY)
		return 0;
	__u64 base = PT_REGS_IP(ctx) - config->entry_executor_start;
	struct session_state *session = enter(config, base);
	if (!session)
		return 0;
	__u64 query = PT_REGS_PARM1(ctx);
	start_nested(config, base, session, PT_REGS_SP(ctx), read_u64(query + QUERY_PLANNED),
		     read_u64(query + QUERY_TEXT), 0);
	return 0;
}

PROBE("uprobe")
int on_process_utility(struct pt_regs *ctx)
{
	struct config *config = find_config();
	if (!config)
		return 0;
	__u32 third = PT_REGS_PARM3(ctx), fourth = PT_REGS_PARM4(ctx);
	HIDE(third); /* or one load would get an address that the verifier does not take */
	HIDE(fourth);
	__u32 context = config->context_third ? third : fourth;
	if (context == UTILITY_TOPLEVEL || context == UTILITY_SUBCOMMAND)
		return 0;
	__u64 base = PT_REGS_IP(ctx) - config->entry_process_utility;
	struct session_state *session = enter(config, base);
	if (!session)
		return 0;
	start_nested(config, base, session, PT_REGS_SP(ctx), PT_REGS_PARM1(ctx),
		     PT_REGS_PARM2(ctx), 1);
	return 0;
}

PROBE("uprobe")
int on_portal_fetch(struct pt_regs *ctx)
{
	struct config *config = find_config();
	__u64 portal = PT_REGS_PARM1(ctx);
	if (!config || is_named(portal))
		return 0;
	__u64 base = PT_REGS_IP(ctx) - config->entry_portal_fetch;
	struct session_state *session = enter(config, base);
	if (session && is_judged(session))
		start_fetch(config, base, session, portal);
	return 0;
}

PROBE("uprobe")
int on_call(struct pt_regs *ctx)
{
	struct config *config = find_config();
	struct session_state *session = find_session();
	if (!config || !session)
		return 0;
	__u64 place = PT_REGS_IP(ctx) - session->base;
	struct function *function = LOOKUP(functions, &place);
	if (function && is_judged(session))
		start_builtin(config, session, function, PT_REGS_PARM1(ctx));
	return 0;
}

#endif

PROBE("raw_tp/sched_process_exit")
int on_exit(void *ctx)
{
	__u64 id = bpf_get_current_pid_tgid();
	__u32 pid = id >> 32;
	if (pid != (__u32)id)
		return 0;
	struct session_state *session = LOOKUP(sessions, &pid);
	if (!session)
		return 0;
	tell_pending(session);
	if (session->known) {
		struct record_head *record = reserve(session, 0, sizeof(*record));
		if (record) {
			fill_head(record, RECORD_EXIT, session->session_us);
			SUBMIT(records, record, wakeup());
		} else {
			count_loss(LOSS_EXIT);
		}
	} else if (!session->starting) {
		count_loss(LOSS_SESSION);
	}
	DELETE(sessions, &pid);
	DELETE(classes, &pid);
	return 0;
}

#ifndef PGWARDEN_BCC
char LICENSE[] SEC("license") = "GPL";
#endif
