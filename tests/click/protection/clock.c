/* Sets the wall clock of one program: seconds in the file that LINKGATE_TEST_CLOCK names are added. For LD_PRELOAD. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int clock_gettime(clockid_t clock, struct timespec *time)
{
    int result = (int)syscall(SYS_clock_gettime, clock, time);
    const char *file = getenv("LINKGATE_TEST_CLOCK");
    char text[32] = {0};
    int from;
    if (result != 0 || clock != CLOCK_REALTIME || file == NULL || (from = open(file, O_RDONLY | O_CLOEXEC)) < 0)
        return result;
    if (read(from, text, sizeof text - 1) > 0)
        time->tv_sec += atol(text);
    close(from);
    return result;
}
