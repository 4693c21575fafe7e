// What the disk takes: new files of given sizes, written at the same time, each from memory of its own and by a thread
// of its own, in pieces of 4 MiB, then fsync. What a checkpoint of the same files is measured against: no copy of what
// changes meanwhile, no checksums, no index, no rename.
//
// usage: disk_probe FOLDER SIZE…     prints {"bytes_per_second": …}
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

enum { PIECE_BYTES = 4 << 20, FILES_MAX = 64 };

struct file {
    char path[4096];
    size_t size;
    uint64_t *content;
    pthread_t thread;
};

static _Noreturn void die(const char *what)
{
    perror(what);
    _exit(1);
}

static double now_seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

// Memory that no disk compresses (xorshift64).
static uint64_t *new_noise(size_t bytes)
{
    uint64_t *words = malloc(bytes + sizeof *words);
    if (!words)
        die("malloc");
    uint64_t word = 88172645463325252u;
    for (size_t i = 0; i <= bytes / sizeof *words; i++) {
        word ^= word << 13;
        word ^= word >> 7;
        word ^= word << 17;
        words[i] = word;
    }
    return words;
}

static void *write_file(void *arg)
{
    struct file *file = arg;
    int fd = open(file->path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    if (fd < 0)
        die(file->path);
    for (size_t at = 0; at < file->size;) {
        size_t left = file->size - at;
        ssize_t n = write(fd, (const char *)file->content + at, left < PIECE_BYTES ? left : PIECE_BYTES);
        if (n <= 0)
            die(file->path);
        at += (size_t)n;
    }
    if (fsync(fd) != 0 || close(fd) != 0)
        die(file->path);
    return NULL;
}

int main(int argc, char **argv)
{
    static struct file files[FILES_MAX];
    if (argc < 3 || argc > 2 + FILES_MAX) {
        fprintf(stderr, "usage: disk_probe FOLDER SIZE…   (at most %d sizes)\n", FILES_MAX);
        return 2;
    }
    size_t n_files = (size_t)argc - 2;
    size_t total = 0;
    for (size_t i = 0; i < n_files; i++) {
        files[i].size = strtoul(argv[2 + i], NULL, 10);
        files[i].content = new_noise(files[i].size);
        snprintf(files[i].path, sizeof files[i].path, "%s/disk_probe.%zu", argv[1], i);
        total += files[i].size;
    }
    double start = now_seconds();
    for (size_t i = 0; i < n_files; i++)
        if (pthread_create(&files[i].thread, NULL, write_file, &files[i]) != 0)
            die("pthread_create");
    for (size_t i = 0; i < n_files; i++)
        pthread_join(files[i].thread, NULL);
    double seconds = now_seconds() - start;
    for (size_t i = 0; i < n_files; i++) {
        unlink(files[i].path);
        free(files[i].content);
    }
    printf("{\"bytes_per_second\": %.0f}\n", (double)total / seconds);
    return 0;
}
