/* Lets a user-mode Linux 6.1 run where the processor has AMX: preload it into linux.uml alone.
 *
 * That kernel sets the floating point registers of its processes by PTRACE_SETREGSET with
 * NT_X86_XSTATE and a buffer of a fixed size. Where the processor has AMX the state is larger, the
 * host takes only a whole one, and the guest dies at its first process ("ptrace set fp regs failed,
 * errno = 14"). So the state is read whole, the guest's bytes are laid over its beginning, and that
 * is set. Every other request goes on as it is.
 */
#define _GNU_SOURCE
#include <elf.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

/* More than any processor's state: with AMX it has some 11 KiB. */
#define STATE_BYTES_MAX 16384

static long set_whole_state(long pid, const struct iovec *given)
{
    static _Thread_local unsigned char state[STATE_BYTES_MAX] __attribute__((aligned(64)));
    struct iovec whole = { state, sizeof state };

    if (syscall(SYS_ptrace, PTRACE_GETREGSET, pid, NT_X86_XSTATE, &whole) != 0)
        return -1;
    if (given->iov_len < whole.iov_len)
        memcpy(state, given->iov_base, given->iov_len);
    else
        whole = *given;
    return syscall(SYS_ptrace, PTRACE_SETREGSET, pid, NT_X86_XSTATE, &whole);
}

/* The system call gives the word that a PEEK asks for by a pointer; the function returns it. */
static long peek(long request, long pid, void *address)
{
    long word;

    return syscall(SYS_ptrace, request, pid, address, &word) == 0 ? word : -1;
}

long ptrace(enum __ptrace_request request, ...)
{
    va_list rest;

    va_start(rest, request);
    long pid = va_arg(rest, pid_t);
    void *address = va_arg(rest, void *);
    void *data = va_arg(rest, void *);
    va_end(rest);

    switch ((long)request) {
    case PTRACE_PEEKTEXT:
    case PTRACE_PEEKDATA:
    case PTRACE_PEEKUSER:
        return peek(request, pid, address);
    case PTRACE_SETREGSET:
        if ((long)address == NT_X86_XSTATE)
            return set_whole_state(pid, data);
    }
    return syscall(SYS_ptrace, request, pid, address, data);
}
