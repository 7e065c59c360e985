/* Load generator: one epoll thread, OpenSSL. Prints one JSON line.
 *
 * Rule of this file: it believes nothing: every answer is checked, every octet of a body is compared.
 *
 *   load MODE --port P [options]
 * MODE  setup   n sessions: connect, TLS, LOGIN, LOGOUT (POP3: USER/PASS, QUIT)
 *       cmd     every connection logs in, selects, then sends --cmd n/conns times
 *       append  like cmd, but APPEND of --bytes
 *       idle    n sessions log in and IDLE (POP3: just stay), print READY, wait
 *               for a line on stdin, then DONE on each and count the answers
 *               (--stages 10,20: first 10 sessions, READY, a line, then 10 more,
 *               READY and so on up to n)
 * --host A --port P --plain --pop3 --n N --conns C --user U (a %d counts) --pass W
 * --mailbox M --cmd TEXT --expect-lit BYTES (literal per command; compared with
 * the known pattern unless --nocompare) --expect-untagged K --bytes B --resume
 * --max-s S (send no more commands after S seconds)
 * --quickack (turn delayed acknowledgements off: shows a peer's Nagle stalls)
 * --nsrc K (source addresses 127.0.1.1..K) --src A (one source address) --timeout S */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include "pattern.h"

enum { S_CONN, S_TLS, S_GREET, S_USER, S_LOGIN, S_SELECT, S_READY, S_CMD, S_CONT, S_UP, S_IDLEGO, S_IDLE, S_DONE, S_LOGOUT, S_END, S_NST };
static const char *stname[] = { "connect", "tls", "greeting", "user", "login", "select", "ready", "command", "continuation", "upload", "idle-start", "idle", "idle-done", "logout", "end" };
enum { M_SETUP, M_CMD, M_APPEND, M_IDLE };

struct conn {
    int fd, st, wantw, slot, reps, nth;
    SSL *ssl;
    double t0, tc;
    char line[4096]; int llen;
    uint64_t lit, litoff, cmdlit; int untagged, differs, rawtail;
    char out[1024]; int olen, opos;
    uint64_t up_left, up_off; int up_tail;
};
static int mode, tls = 1, pop, n = 1, conns = 1, resume, nsrc = 1, compare = 1, timeout_s = 120, port;
static const char *host = "127.0.0.1", *src, *user = "user%d", *pass = "secret", *mailbox = "INBOX", *cmd = "NOOP";
static int numbers = 1; /* a # in cmd stands for 1, 2, ... numbers, 1, 2, ... */
static int quickack; /* acknowledge at once: takes Nagle stalls of the peer away */
static const char *stages = "";
static double max_s;   /* issue no more commands after so many seconds */
static long long expect_lit = -1, expect_untagged = -1, bytes = 1 << 20;
static int ep, started, finished, failed, active, ready, resumed, dones;
static int fail_at[S_NST];
static char why[200], tlsname[64];
static uint64_t litbytes, wirebytes, cmds;
static double *lat; static int nlat, caplat;
static SSL_CTX *ctx; static SSL_SESSION **sess; static char *freeslot;
static struct conn **all; static int nall;
static double t_first_cmd, t_last;

static double now(void) { struct timespec t; clock_gettime(CLOCK_MONOTONIC, &t); return t.tv_sec + t.tv_nsec * 1e-9; }
static void addlat(double x)
{
    if (nlat == caplat) { caplat = caplat ? caplat * 2 : 4096; lat = realloc(lat, caplat * sizeof *lat); }
    lat[nlat++] = x;
}
static void drop(struct conn *c, int ok)
{
    if (c->st == S_END) return;
    if (!ok) { failed++; fail_at[c->st]++; if (!why[0]) snprintf(why, sizeof why, "at %s: %.120s", stname[c->st], c->line[0] ? c->line : strerror(errno)); }
    else finished++;
    if (c->ssl) {
        if (ok) SSL_shutdown(c->ssl); else SSL_set_quiet_shutdown(c->ssl, 1);
        SSL_free(c->ssl);
    }
    close(c->fd);
    ERR_clear_error();
    freeslot[c->slot] = 1; active--;
    c->st = S_END; c->fd = -1;
    t_last = now();
}
static void want(struct conn *c, int w)
{
    if (c->wantw == w) return;
    struct epoll_event e = { .events = EPOLLIN | (w ? EPOLLOUT : 0), .data.ptr = c };
    epoll_ctl(ep, EPOLL_CTL_MOD, c->fd, &e); c->wantw = w;
}
/* bytes, 0 would block, -1 dead */
static long wr(struct conn *c, const char *b, size_t k)
{
    if (!tls) { ssize_t r = send(c->fd, b, k, MSG_NOSIGNAL); return r >= 0 ? r : errno == EAGAIN ? 0 : -1; }
    int r = SSL_write(c->ssl, b, k > 1 << 20 ? 1 << 20 : k);
    if (r > 0) return r;
    int e = SSL_get_error(c->ssl, r);
    ERR_clear_error();
    return e == SSL_ERROR_WANT_WRITE || e == SSL_ERROR_WANT_READ ? 0 : -1;
}
static long rd(struct conn *c, char *b, size_t k)
{
    if (!tls) { ssize_t r = recv(c->fd, b, k, 0); return r > 0 ? r : r < 0 && errno == EAGAIN ? 0 : -1; }
    size_t got = 0;
    while (got < k) {
        int r = SSL_read(c->ssl, b + got, k - got);
        if (r > 0) { got += r; continue; }
        int e = SSL_get_error(c->ssl, r);
        ERR_clear_error();
        if (e == SSL_ERROR_WANT_READ || e == SSL_ERROR_WANT_WRITE) break;
        return got ? (long)got : -1;
    }
    return got;
}
static int flush_out(struct conn *c) /* 1 all, 0 blocked, -1 dead */
{
    for (;;) {
        while (c->opos < c->olen) {
            long r = wr(c, c->out + c->opos, c->olen - c->opos);
            if (r < 0) return -1;
            if (!r) { want(c, 1); return 0; }
            c->opos += r;
        }
        c->opos = c->olen = 0;
        while (c->up_left) {
            size_t k = c->up_left < 262144 ? c->up_left : 262144;
            long r = wr(c, pat + c->up_off % PATLEN, k);
            if (r < 0) return -1;
            if (!r) { want(c, 1); return 0; }
            c->up_off += r; c->up_left -= r;
        }
        if (c->up_tail) { c->up_tail = 0; memcpy(c->out, "\r\n", 2); c->olen = 2; continue; }
        want(c, 0);
        return 1;
    }
}
static void put(struct conn *c, const char *f, ...)
{
    va_list a; va_start(a, f);
    c->olen += vsnprintf(c->out + c->olen, sizeof c->out - c->olen, f, a);
    va_end(a);
}
static void next(struct conn *c) /* logged in and selected */
{
    if (mode == M_IDLE) {
        if (pop) { c->st = S_IDLE; ready++; }
        else { c->st = S_IDLEGO; put(c, "i1 IDLE\r\n"); }
        return;
    }
    if (mode == M_SETUP || c->reps == 0) {
        c->st = S_LOGOUT; put(c, pop ? "QUIT\r\n" : "z1 LOGOUT\r\n");
        return;
    }
    c->reps--; c->cmdlit = 0; c->untagged = 0; c->differs = 0;
    c->tc = now(); if (!t_first_cmd) t_first_cmd = c->tc;
    if (mode == M_APPEND) { c->st = S_CONT; put(c, "c1 APPEND %s {%lld}\r\n", mailbox, bytes); }
    else {
        const char *mark = strchr(cmd, '#');
        c->st = S_CMD;
        if (!mark) put(c, pop ? "%s\r\n" : "c1 %s\r\n", cmd);
        else put(c, pop ? "%.*s%d%s\r\n" : "c1 %.*s%d%s\r\n", (int)(mark - cmd), cmd, 1 + c->nth++ % numbers, mark + 1);
    }
}
static int fin_cmd(struct conn *c)
{
    if (expect_lit >= 0 && (long long)c->cmdlit != expect_lit) { snprintf(c->line, sizeof c->line, "literal of %llu bytes", (unsigned long long)c->cmdlit); return -1; }
    if (expect_untagged >= 0 && c->untagged != expect_untagged) { snprintf(c->line, sizeof c->line, "%d untagged lines", c->untagged); return -1; }
    if (c->differs) { snprintf(c->line, sizeof c->line, "content differs"); return -1; }
    double t = now(); addlat(t - c->tc); cmds++; t_last = t;
    if (max_s && t - t_first_cmd > max_s) c->reps = 0;
    next(c);
    return 0;
}
static int startswith(const char *l, const char *s) { return !strncasecmp(l, s, strlen(s)); }
/* one line without its CRLF; -1 means the session failed */
static int line(struct conn *c, char *l, int len)
{
    char u[128];
    switch (c->st) {
    case S_GREET:
        if (!startswith(l, pop ? "+OK" : "* OK")) return -1;
        snprintf(u, sizeof u, user, 1 + c->slot % 50);
        if (pop) { c->st = S_USER; put(c, "USER %s\r\n", u); }
        else { c->st = S_LOGIN; put(c, "a1 LOGIN %s %s\r\n", u, pass); }
        return 0;
    case S_USER:
        if (!startswith(l, "+OK")) return -1;
        c->st = S_LOGIN; put(c, "PASS %s\r\n", pass);
        return 0;
    case S_LOGIN:
        if (l[0] == '*') return 0;
        if (!startswith(l, pop ? "+OK" : "a1 OK")) return -1;
        if (mode == M_SETUP) addlat(now() - c->t0);
        if (mode == M_SETUP || pop) next(c);
        else { c->st = S_SELECT; put(c, "b1 SELECT %s\r\n", mailbox); }
        return 0;
    case S_SELECT:
        if (l[0] == '*') return 0;
        if (!startswith(l, "b1 OK")) return -1;
        next(c); return 0;
    case S_CMD:
        if (pop) {
            if (c->rawtail) { if (len == 1 && l[0] == '.') { c->rawtail = 0; return fin_cmd(c); } return 0; }
            if (!startswith(l, "+OK")) return -1;
            if (!startswith(cmd, "RETR")) return fin_cmd(c);
            c->lit = strtoull(l + 4, 0, 10); c->litoff = 0; c->cmdlit = c->lit; c->rawtail = 1;
            return 0;
        }
        if (l[0] == 'c') { if (!startswith(l, "c1 OK")) return -1; return fin_cmd(c); }
        if (l[0] == '*') c->untagged++;
        if (len > 2 && l[len - 1] == '}') {
            char *b = strrchr(l, '{');
            if (b) { c->lit = strtoull(b + 1, 0, 10); c->litoff = 0; c->cmdlit += c->lit; }
        }
        return 0;
    case S_CONT:
        if (l[0] == '*') return 0;
        if (l[0] != '+') return -1;
        c->st = S_UP; c->up_left = bytes; c->up_off = 0; c->up_tail = 1;
        return 0;
    case S_UP:
        if (l[0] == '*') return 0;
        if (!startswith(l, "c1 OK") || c->up_left || strstr(l, "DIFFERS")) return -1;
        { char *b = strstr(l, "bytes="); if (b && strtoll(b + 6, 0, 10) != bytes) return -1; }
        litbytes += bytes;
        return fin_cmd(c);
    case S_IDLEGO:
        if (l[0] == '*') return 0;
        if (l[0] != '+') return -1;
        c->st = S_IDLE; ready++;
        return 0;
    case S_IDLE: return 0;
    case S_DONE:
        if (l[0] == '*') return 0;
        if (!startswith(l, pop ? "+OK" : "i1 OK")) return -1;
        dones++; drop(c, 1); return 1;
    case S_LOGOUT:
        if (!startswith(l, pop ? "+OK" : "z1 OK")) return l[0] == '*' ? 0 : -1;
        drop(c, 1); return 1;
    }
    return -1;
}
/* 0 fine, 1 finished, -1 failed */
static int feed(struct conn *c, char *b, size_t k)
{
    while (k) {
        if (c->lit) {
            size_t m = k < c->lit ? k : c->lit;
            if (compare && !c->differs && pattern_differs(b, m, c->litoff)) c->differs = 1;
            c->litoff += m; c->lit -= m; litbytes += m; b += m; k -= m;
            continue;
        }
        char *nl = memchr(b, '\n', k);
        size_t m = nl ? (size_t)(nl - b) + 1 : k;
        char *l = b; int len = m;
        if (c->llen || !nl) {
            if (c->llen + m >= sizeof c->line) { snprintf(c->line, sizeof c->line, "line too long"); return -1; }
            memcpy(c->line + c->llen, b, m); c->llen += m;
            l = c->line; len = c->llen;
        }
        b += m; k -= m;
        if (!nl) return 0;
        c->llen = 0;
        len--; if (len && l[len - 1] == '\r') len--;
        char keep = l[len]; l[len] = 0;
        int r = line(c, l, len);
        if (r < 0) { if (l != c->line && !c->differs && c->lit == 0 && c->st != S_CMD) snprintf(c->line, 200, "%.190s", l); return -1; }
        if (r) return 1;
        l[len] = keep;
    }
    return 0;
}
static int handshake(struct conn *c)
{
    int r = SSL_do_handshake(c->ssl);
    if (r == 1) {
        if (SSL_session_reused(c->ssl)) resumed++;
        if (!tlsname[0]) snprintf(tlsname, sizeof tlsname, "%s %s", SSL_get_version(c->ssl), SSL_get_cipher(c->ssl));
        c->st = S_GREET; want(c, 0);
        return 1;
    }
    int e = SSL_get_error(c->ssl, r);
    if (e == SSL_ERROR_WANT_READ) { want(c, 0); return 0; }
    if (e == SSL_ERROR_WANT_WRITE) { want(c, 1); return 0; }
    ERR_error_string_n(ERR_get_error(), c->line, 200);
    return -1;
}
static void on(struct conn *c, uint32_t ev)
{
    static char buf[1 << 18];
    if (c->st == S_END) return;
    if (c->st == S_CONN) {
        int e = 0; socklen_t l = sizeof e;
        getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &e, &l);
        if (e) { errno = e; drop(c, 0); return; }
        c->st = tls ? S_TLS : S_GREET;
        if (!tls) want(c, 0);
    }
    if (c->st == S_TLS) {
        int r = handshake(c);
        if (r < 0) { drop(c, 0); return; }
        if (!r) return;
    }
    for (;;) {
        int r = flush_out(c);
        if (r < 0) { drop(c, 0); return; }
        if (quickack) setsockopt(c->fd, IPPROTO_TCP, TCP_QUICKACK, &quickack, sizeof quickack);
        long k = rd(c, buf, sizeof buf);
        if (k < 0) { if (!c->llen) snprintf(c->line, 200, "closed by peer"); drop(c, 0); return; }
        if (!k) return;
        wirebytes += k;
        int before = c->olen;
        r = feed(c, buf, k);
        if (r > 0) return;
        if (r < 0) { drop(c, 0); return; }
        if (c->olen == before && !c->up_left && k < (long)sizeof buf && !tls) return;
    }
    (void)ev;
}
static int newsess(SSL *s, SSL_SESSION *ss)
{
    struct conn *c = SSL_get_app_data(s);
    if (!resume) return 0;
    if (sess[c->slot]) SSL_SESSION_free(sess[c->slot]);
    sess[c->slot] = ss;
    return 1;
}
static void start(int slot)
{
    struct conn *c = all[slot];
    if (!c) c = all[slot] = calloc(1, sizeof *c);
    memset(c, 0, offsetof(struct conn, line)); c->line[0] = 0;
    c->llen = c->olen = c->opos = 0; c->lit = 0; c->rawtail = 0; c->up_left = 0; c->up_tail = 0;
    c->slot = slot; freeslot[slot] = 0; active++; started++;
    c->reps = mode == M_CMD || mode == M_APPEND ? n / conns : 0;
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (c->fd < 0) { perror("socket"); exit(2); }
    int one = 1;
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(port) };
    if (nsrc > 1 || src) {
        struct sockaddr_in s = { .sin_family = AF_INET };
        if (src) inet_pton(AF_INET, src, &s.sin_addr);
        else s.sin_addr.s_addr = htonl(0x7f000100 | (1 + slot % nsrc));
        setsockopt(c->fd, SOL_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one);
        bind(c->fd, (void *)&s, sizeof s);
    }
    inet_pton(AF_INET, host, &a.sin_addr);
    c->t0 = now(); c->st = S_CONN;
    if (connect(c->fd, (void *)&a, sizeof a) && errno != EINPROGRESS) { drop(c, 0); return; }
    struct epoll_event e = { .events = EPOLLIN | EPOLLOUT, .data.ptr = c };
    c->wantw = 1; epoll_ctl(ep, EPOLL_CTL_ADD, c->fd, &e);
    if (tls) {
        c->ssl = SSL_new(ctx); SSL_set_fd(c->ssl, c->fd); SSL_set_connect_state(c->ssl);
        SSL_set_app_data(c->ssl, c);
        if (resume && sess[slot]) SSL_set_session(c->ssl, sess[slot]);
    }
}
/* how many idle sessions are wanted after those that there are */
static int stage(void)
{
    int k = *stages ? strtol(stages, (char **)&stages, 10) : n;
    if (*stages == ',') stages++;
    return k < n ? k : n;
}
static int cmp(const void *a, const void *b) { double x = *(double *)a, y = *(double *)b; return x < y ? -1 : x > y; }
static double pct(double p) { if (!nlat) return 0; int i = p * nlat; if (i >= nlat) i = nlat - 1; return lat[i] * 1e6; }

int main(int ac, char **av)
{
    if (ac < 2) return 2;
    mode = !strcmp(av[1], "setup") ? M_SETUP : !strcmp(av[1], "cmd") ? M_CMD : !strcmp(av[1], "append") ? M_APPEND : M_IDLE;
    for (int i = 2; i < ac; i++) {
        char *o = av[i];
        if (!strcmp(o, "--plain")) { tls = 0; continue; }
        if (!strcmp(o, "--pop3")) { pop = 1; continue; }
        if (!strcmp(o, "--quickack")) { quickack = 1; continue; }
        if (!strcmp(o, "--resume")) { resume = 1; continue; }
        if (!strcmp(o, "--nocompare")) { compare = 0; continue; }
        if (i + 1 >= ac) { fprintf(stderr, "load: %s?\n", o); return 2; }
        char *v = av[++i];
        if (!strcmp(o, "--host")) host = v; else if (!strcmp(o, "--src")) src = v; else if (!strcmp(o, "--port")) port = atoi(v);
        else if (!strcmp(o, "--n")) n = atoi(v); else if (!strcmp(o, "--conns")) conns = atoi(v);
        else if (!strcmp(o, "--user")) user = v; else if (!strcmp(o, "--pass")) pass = v;
        else if (!strcmp(o, "--mailbox")) mailbox = v; else if (!strcmp(o, "--cmd")) cmd = v;
        else if (!strcmp(o, "--expect-lit")) expect_lit = atoll(v); else if (!strcmp(o, "--expect-untagged")) expect_untagged = atoll(v);
        else if (!strcmp(o, "--bytes")) bytes = atoll(v); else if (!strcmp(o, "--nsrc")) nsrc = atoi(v);
        else if (!strcmp(o, "--timeout")) timeout_s = atoi(v);
        else if (!strcmp(o, "--numbers")) numbers = atoi(v);
        else if (!strcmp(o, "--stages")) stages = v;
        else if (!strcmp(o, "--max-s")) max_s = atof(v);
        else { fprintf(stderr, "load: %s?\n", o); return 2; }
    }
    signal(SIGPIPE, SIG_IGN);
    struct rlimit rl; getrlimit(RLIMIT_NOFILE, &rl); rl.rlim_cur = rl.rlim_max; setrlimit(RLIMIT_NOFILE, &rl);
    pattern_init();
    if (tls) {
        ctx = SSL_CTX_new(TLS_client_method());
        SSL_CTX_set_min_proto_version(ctx, TLS1_3_VERSION);
        SSL_CTX_set_ciphersuites(ctx, "TLS_AES_256_GCM_SHA384");
        SSL_CTX_set1_groups_list(ctx, "X25519:P-256");
        SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_RELEASE_BUFFERS);
        if (mode == M_CMD && conns <= 64) { SSL_CTX_set_read_ahead(ctx, 1); SSL_CTX_set_default_read_buffer_len(ctx, 131072); }
        SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
        SSL_CTX_sess_set_new_cb(ctx, newsess);
        SSL_CTX_set_options(ctx, SSL_OP_IGNORE_UNEXPECTED_EOF);
    }
    int slots = mode == M_IDLE ? n : conns, total = mode == M_SETUP || mode == M_IDLE ? n : conns;
    int goal = mode == M_IDLE ? stage() : total;
    int par = mode == M_IDLE ? conns : slots; /* how many may be under way at once */
    all = calloc(slots, sizeof *all); sess = calloc(slots, sizeof *sess); freeslot = malloc(slots); memset(freeslot, 1, slots);
    ep = epoll_create1(0);
    double t0 = now(), dl = t0 + timeout_s; int scan = 0, phase = 0, timedout = 0, settled = 0;
    t_last = t0;
    struct epoll_event ev[512];
    for (;;) {
        while (started < goal) {
            if (mode == M_IDLE) { if (started - ready - failed >= par) break; start(started); }
            else {
                if (active >= slots) break;
                while (!freeslot[scan]) scan = (scan + 1) % slots;
                start(scan); scan = (scan + 1) % slots;
            }
            if (failed > 50 && failed > started / 2) break;
        }
        if (failed > 50 && failed > started / 2 && phase == 0) { timedout = 2; break; }
        if (mode == M_IDLE && phase == 0 && ready + failed >= goal) {
            phase = 1; settled = ready;
            printf("READY %d %d %.3f\n", ready, failed, now() - t0); fflush(stdout);
            struct epoll_event e = { .events = EPOLLIN, .data.ptr = NULL };
            epoll_ctl(ep, EPOLL_CTL_ADD, 0, &e);
        }
        if (mode != M_IDLE && started >= total && !active) break;
        if (phase == 2 && !active) break;
        int k = epoll_wait(ep, ev, 512, 200);
        if (now() > dl) { timedout = 1; break; }
        for (int i = 0; i < k; i++) {
            if (!ev[i].data.ptr) {
                char b[64]; if (read(0, b, sizeof b) < 0) return 2;
                epoll_ctl(ep, EPOLL_CTL_DEL, 0, NULL);
                dl = now() + timeout_s;
                if (goal < total) { goal = stage(); phase = 0; continue; }
                phase = 2;
                for (int j = 0; j < slots; j++) if (all[j] && all[j]->st == S_IDLE) { all[j]->st = S_DONE; put(all[j], pop ? "NOOP\r\n" : "DONE\r\n"); on(all[j], EPOLLOUT); }
            } else on(ev[i].data.ptr, ev[i].events);
        }
    }
    struct rusage ru; getrusage(RUSAGE_SELF, &ru);
    double cpu = ru.ru_utime.tv_sec + ru.ru_utime.tv_usec * 1e-6 + ru.ru_stime.tv_sec + ru.ru_stime.tv_usec * 1e-6;
    qsort(lat, nlat, sizeof *lat, cmp);
    double sum = 0; for (int i = 0; i < nlat; i++) sum += lat[i];
    for (char *p = why; *p; p++) if (*p == '"' || *p == '\\' || !isprint((unsigned char)*p)) *p = '?';
    printf("{\"started\":%d,\"finished\":%d,\"failed\":%d,\"why\":\"%s\",\"timeout\":%d,\"wall\":%.6f,\"cmd_wall\":%.6f,"
        "\"cmds\":%llu,\"literal_bytes\":%llu,\"bytes_in\":%llu,\"resumed\":%d,\"ready\":%d,\"dones\":%d,\"client_cpu\":%.4f,"
        "\"p50_us\":%.1f,\"p99_us\":%.1f,\"mean_us\":%.1f,\"tls\":\"%s\"}\n",
        started, finished, failed, why, timedout, t_last - t0, t_first_cmd ? t_last - t_first_cmd : 0,
        (unsigned long long)cmds, (unsigned long long)litbytes, (unsigned long long)wirebytes, resumed, settled, dones, cpu,
        pct(.5), pct(.99), nlat ? sum / nlat * 1e6 : 0, tlsname);
    (void)nall;
    return failed || timedout ? 1 : 0;
}
