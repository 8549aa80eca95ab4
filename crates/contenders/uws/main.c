/*
 * uSockets, the TCP layer of uWebSockets, over its own epoll loop: level-triggered, one receive buffer of 512 KiB per
 * loop, and per connection a buffer only for what its peer has not taken. It does not stop reading meanwhile, as
 * uWebSockets does not. A worker is a thread with a loop.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <getopt.h>
#include <libusockets.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>

enum { BACKLOG = 4096, TCP = 0 /* where the library asks whether it is TLS */ };

struct connection {
    char *unsent;
    int unsent_bytes;
    int peer_ended;
};

static char *host = "127.0.0.1";
static int port;

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static void nothing(struct us_loop_t *loop) { (void)loop; }

static struct us_socket_t *on_open(struct us_socket_t *s, int is_client, char *ip, int ip_bytes) {
    (void)is_client, (void)ip, (void)ip_bytes;
    memset(us_socket_ext(TCP, s), 0, sizeof(struct connection));
    return s;
}

/* Nothing is written past bytes that wait: their order would be lost. */
static struct us_socket_t *on_data(struct us_socket_t *s, char *data, int bytes) {
    struct connection *c = us_socket_ext(TCP, s);
    int sent_bytes = c->unsent_bytes ? 0 : us_socket_write(TCP, s, data, bytes, 0);
    if (sent_bytes < bytes) {
        int rest_bytes = bytes - sent_bytes;
        c->unsent = realloc(c->unsent, c->unsent_bytes + rest_bytes);
        if (!c->unsent) fail("realloc");
        memcpy(c->unsent + c->unsent_bytes, data + sent_bytes, rest_bytes);
        c->unsent_bytes += rest_bytes;
    }
    return s;
}

static struct us_socket_t *on_writable(struct us_socket_t *s) {
    struct connection *c = us_socket_ext(TCP, s);
    int sent_bytes = us_socket_write(TCP, s, c->unsent, c->unsent_bytes, 0);
    c->unsent_bytes -= sent_bytes;
    memmove(c->unsent, c->unsent + sent_bytes, c->unsent_bytes);
    if (c->unsent_bytes) return s;
    free(c->unsent);
    c->unsent = NULL;
    return c->peer_ended ? us_socket_close(TCP, s, 0, NULL) : s;
}

static struct us_socket_t *on_end(struct us_socket_t *s) {
    struct connection *c = us_socket_ext(TCP, s);
    c->peer_ended = 1;
    return c->unsent_bytes ? s : us_socket_close(TCP, s, 0, NULL);
}

static struct us_socket_t *on_close(struct us_socket_t *s, int code, void *reason) {
    (void)code, (void)reason;
    free(((struct connection *)us_socket_ext(TCP, s))->unsent);
    return s;
}

/* No timeout is ever set; the loop's timer asks all the same that there be a handler. */
static struct us_socket_t *on_timeout(struct us_socket_t *s) { return s; }

/* The library sets TCP_NODELAY on what it accepts, and SO_REUSEPORT where it listens; its backlog is 512. */
static struct us_loop_t *listening_loop(void) {
    struct us_loop_t *loop = us_create_loop(NULL, nothing, nothing, nothing, 0);
    struct us_socket_context_options_t options = {0};
    struct us_socket_context_t *context = us_create_socket_context(TCP, loop, 0, options);
    us_socket_context_on_open(TCP, context, on_open);
    us_socket_context_on_data(TCP, context, on_data);
    us_socket_context_on_writable(TCP, context, on_writable);
    us_socket_context_on_end(TCP, context, on_end);
    us_socket_context_on_close(TCP, context, on_close);
    us_socket_context_on_timeout(TCP, context, on_timeout);
    struct us_listen_socket_t *listener =
        us_socket_context_listen(TCP, context, host, port, LIBUS_LISTEN_DEFAULT, sizeof(struct connection));
    if (!listener) fail("listen");
    int fd = (int)(intptr_t)us_socket_get_native_handle(TCP, (struct us_socket_t *)listener);
    if (listen(fd, BACKLOG)) fail("listen");
    return loop;
}

static void *run(void *loop) {
    us_loop_run(loop);
    return NULL;
}

/* The library shares only ports that it is told: a free one is taken here, by a socket that never listens. */
static void choose_port(void) {
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t size = sizeof address;
    if (inet_pton(AF_INET, host, &address.sin_addr) != 1) {
        fprintf(stderr, "--listen must be an IPv4 ADDRESS:PORT\n");
        exit(2);
    }
    if (port) return;
    int on = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) ||
        setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on) || bind(fd, (struct sockaddr *)&address, size) ||
        getsockname(fd, (struct sockaddr *)&address, &size))
        fail("a free port");
    port = ntohs(address.sin_port);
}

int main(int count, char **arguments) {
    static const struct option known[] = {
        {"listen", 1, NULL, 'l'}, {"service", 1, NULL, 's'}, {"workers", 1, NULL, 'w'}, {0}};
    int workers = 1, option;
    while ((option = getopt_long(count, arguments, "", known, NULL)) != -1) {
        if (option == 'l') {
            char *colon = strrchr(optarg, ':');
            if (colon) *colon = 0, host = optarg, port = atoi(colon + 1);
        } else if (option == 's' && strcmp(optarg, "echo")) {
            fprintf(stderr, "uws serves --service echo alone\n");
            return 2;
        } else if (option == 'w') {
            workers = atoi(optarg);
        } else if (option == '?') {
            return 2;
        }
    }
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit)) fail("getrlimit");
    limit.rlim_cur = limit.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &limit)) fail("setrlimit");

    choose_port();
    struct us_loop_t *first = listening_loop();
    for (int worker = 1; worker < workers; worker++) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, run, listening_loop())) fail("pthread_create");
    }
    printf("{\"listen\":[\"%s:%d\"]}\n", host, port);
    fflush(stdout);
    run(first);
}
