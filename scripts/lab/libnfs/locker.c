/* Asks a server for locks by libnfs's MOUNT, NFS, NLM and NSM calls, as its stdin tells it.
 *
 *   locker SERVER EXPORT FILE
 *
 *   null                          NLM NULL: ok
 *   test|lock|wait|cancel ex|sh START LENGTH,  unlock START LENGTH
 *                                 the NLM4 status by its name; a denied TEST tells the lock in the
 *                                 way: NLM4_DENIED ex|sh START LENGTH
 *   nsm-null                      ok
 *   stat NAME                     SM_STAT: its result's name and the state
 *   notify NAME STATE             SM_NOTIFY: ok
 *
 * One answer line for each command; whatever goes wrong is told on stderr and ends the program.
 */

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <nfsc/libnfs.h>
#include <nfsc/libnfs-raw.h>
#include <nfsc/libnfs-raw-mount.h>
#include <nfsc/libnfs-raw-nfs.h>
#include <nfsc/libnfs-raw-nlm.h>
#include <nfsc/libnfs-raw-nsm.h>

#define ANSWER_MS 20000
#define CALLER "libnfs"

struct call {
	int done;
	/* Copies what a reply holds: it is gone when the callback has returned. */
	void (*take)(const void *reply);
};

static struct nfs_fh3 handle;

static void fail(const char *what, const char *why)
{
	fprintf(stderr, "%s: %s\n", what, why);
	exit(1);
}

static void answered(struct rpc_context *rpc, int status, void *data, void *private_data)
{
	struct call *call = private_data;

	if (status != RPC_STATUS_SUCCESS)
		fail("a call failed", data ? data : rpc_get_error(rpc));
	if (call->take)
		call->take(data);
	call->done = 1;
}

/* Serves the connection until the call that `queued` told of is answered. */
static void await(struct rpc_context *rpc, int queued, struct call *call)
{
	if (queued != 0)
		fail("a call was not sent", rpc_get_error(rpc));
	while (!call->done) {
		struct pollfd wanted = {.fd = rpc_get_fd(rpc), .events = rpc_which_events(rpc)};

		if (poll(&wanted, 1, ANSWER_MS) <= 0)
			fail("poll", "no answer in time");
		if (rpc_service(rpc, wanted.revents) < 0)
			fail("the connection broke", rpc_get_error(rpc));
	}
}

static struct rpc_context *connected(const char *server, int program, int version)
{
	struct rpc_context *rpc = rpc_init_context();
	struct call call = {0};

	await(rpc, rpc_connect_program_async(rpc, server, program, version, answered, &call), &call);
	return rpc;
}

static void keep_handle(u_int length, const char *bytes)
{
	handle.data.data_len = length;
	handle.data.data_val = malloc(length);
	memcpy(handle.data.data_val, bytes, length);
}

static void take_mount(const void *reply)
{
	const struct mountres3 *result = reply;

	if (result->fhs_status != MNT3_OK)
		fail("MNT", "refused");
	keep_handle(result->mountres3_u.mountinfo.fhandle.fhandle3_len,
		    result->mountres3_u.mountinfo.fhandle.fhandle3_val);
}

static void take_lookup(const void *reply)
{
	const struct LOOKUP3res *result = reply;

	if (result->status != NFS3_OK)
		fail("LOOKUP", nfsstat3_to_str(result->status));
	free(handle.data.data_val);
	keep_handle(result->LOOKUP3res_u.resok.object.data.data_len,
		    result->LOOKUP3res_u.resok.object.data.data_val);
}

static void find_file(const char *server, char *export, char *file)
{
	struct rpc_context *mount = connected(server, MOUNT_PROGRAM, MOUNT_V3);
	struct rpc_context *nfs = connected(server, NFS_PROGRAM, NFS_V3);
	struct call mnt = {.take = take_mount}, lookup = {.take = take_lookup};
	struct LOOKUP3args args = {0};

	await(mount, rpc_mount3_mnt_async(mount, answered, export, &mnt), &mnt);
	args.what.dir = handle;
	args.what.name = file;
	await(nfs, rpc_nfs3_lookup_async(nfs, answered, &args, &lookup), &lookup);
	rpc_destroy_context(mount);
	rpc_destroy_context(nfs);
}

static void take_null(const void *reply)
{
	(void)reply;
	puts("ok");
}

static void take_test(const void *reply)
{
	const struct NLM4_TESTres *result = reply;
	const struct nlm4_holder *holder = &result->reply.nlm4_testreply_u.lock.holder;

	fputs(nlmstat4_to_str(result->reply.status), stdout);
	if (result->reply.status == NLM4_DENIED)
		printf(" %s %llu %llu", holder->exclusive ? "ex" : "sh",
		       (unsigned long long)holder->l_offset, (unsigned long long)holder->l_len);
	putchar('\n');
}

/* LOCK's, CANCEL's and UNLOCK's results are alike. */
static void take_status(const void *reply)
{
	const struct NLM4_LOCKres *result = reply;

	puts(nlmstat4_to_str(result->status));
}

static void take_stat(const void *reply)
{
	const struct NSM1_STATres *result = reply;

	printf("%s %d\n", nsmstat1_to_str(result->res), result->state);
}

static struct nlm4_lock range(unsigned long long start, unsigned long long length)
{
	struct nlm4_lock lock = {.caller_name = CALLER, .oh = "1@" CALLER, .svid = 1};

	lock.fh.data.data_len = handle.data.data_len;
	lock.fh.data.data_val = handle.data.data_val;
	lock.l_offset = start;
	lock.l_len = length;
	return lock;
}

static void test(struct rpc_context *nlm, struct nlm4_lock lock, int exclusive)
{
	struct NLM4_TESTargs args = {.exclusive = exclusive, .lock = lock};
	struct call call = {.take = take_test};

	await(nlm, rpc_nlm4_test_async(nlm, answered, &args, &call), &call);
}

static void lock(struct rpc_context *nlm, struct nlm4_lock lock, int exclusive, int block)
{
	struct NLM4_LOCKargs args = {.block = block, .exclusive = exclusive, .lock = lock};
	struct call call = {.take = take_status};

	args.state = 1;
	await(nlm, rpc_nlm4_lock_async(nlm, answered, &args, &call), &call);
}

static void cancel(struct rpc_context *nlm, struct nlm4_lock lock, int exclusive)
{
	struct NLM4_CANCargs args = {.block = 1, .exclusive = exclusive, .lock = lock};
	struct call call = {.take = take_status};

	await(nlm, rpc_nlm4_cancel_async(nlm, answered, &args, &call), &call);
}

static void unlock(struct rpc_context *nlm, struct nlm4_lock lock)
{
	struct NLM4_UNLOCKargs args = {.lock = lock};
	struct call call = {.take = take_status};

	await(nlm, rpc_nlm4_unlock_async(nlm, answered, &args, &call), &call);
}

static int ask_nsm(struct rpc_context *nsm, const char *line)
{
	struct call null = {.take = take_null}, stat = {.take = take_stat};
	char name[256];
	int state;

	if (strcmp(line, "nsm-null\n") == 0) {
		await(nsm, rpc_nsm1_null_async(nsm, answered, &null), &null);
	} else if (sscanf(line, "stat %255s", name) == 1) {
		struct NSM1_STATargs args = {.mon_name = name};

		await(nsm, rpc_nsm1_stat_async(nsm, answered, &args, &stat), &stat);
	} else if (sscanf(line, "notify %255s %d", name, &state) == 2) {
		struct NSM1_NOTIFYargs args = {.mon_name = name, .state = state};

		await(nsm, rpc_nsm1_notify_async(nsm, answered, &args, &null), &null);
	} else {
		return 0;
	}
	return 1;
}

static void ask_nlm(struct rpc_context *nlm, const char *line)
{
	struct call null = {.take = take_null};
	unsigned long long start, length;
	char verb[16], mode[3];
	int exclusive;

	if (strcmp(line, "null\n") == 0) {
		await(nlm, rpc_nlm4_null_async(nlm, answered, &null), &null);
		return;
	}
	if (sscanf(line, "unlock %llu %llu", &start, &length) == 2) {
		unlock(nlm, range(start, length));
		return;
	}
	if (sscanf(line, "%15s %2s %llu %llu", verb, mode, &start, &length) != 4)
		fail("no such command", line);
	exclusive = strcmp(mode, "ex") == 0;
	if (strcmp(verb, "test") == 0)
		test(nlm, range(start, length), exclusive);
	else if (strcmp(verb, "cancel") == 0)
		cancel(nlm, range(start, length), exclusive);
	else
		lock(nlm, range(start, length), exclusive, strcmp(verb, "wait") == 0);
}

int main(int argc, char **argv)
{
	struct rpc_context *nlm, *nsm;
	char line[512];

	if (argc != 4)
		fail(argv[0], "expected SERVER EXPORT FILE");
	setvbuf(stdout, NULL, _IOLBF, 0);
	find_file(argv[1], argv[2], argv[3]);
	nlm = connected(argv[1], NLM_PROGRAM, NLM_V4);
	nsm = connected(argv[1], NSM_PROGRAM, NSM_V1);
	/* As a kernel's locker does, so that it can be spoken to in the same way. */
	printf("%d\n", getpid());
	while (fgets(line, sizeof(line), stdin))
		if (!ask_nsm(nsm, line))
			ask_nlm(nlm, line);
	return 0;
}
