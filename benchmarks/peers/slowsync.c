/* LD_PRELOAD: fsync and fdatasync take SLOWSYNC_MS milliseconds longer, as on a disk that has to write. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <time.h>

static void pause_first(void)
{
    static long milliseconds = -1;
    if (milliseconds < 0) {
        const char *given = getenv("SLOWSYNC_MS");
        milliseconds = given ? atol(given) : 0;
    }
    struct timespec pause = {milliseconds / 1000, milliseconds % 1000 * 1000000};
    while (nanosleep(&pause, &pause) != 0)
        ;
}

int fsync(int file)
{
    static int (*real)(int);
    if (!real)
        real = (int (*)(int))dlsym(RTLD_NEXT, "fsync");
    pause_first();
    return real(file);
}

int fdatasync(int file)
{
    static int (*real)(int);
    if (!real)
        real = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
    pause_first();
    return real(file);
}
