/* A backend that costs next to nothing: IMAP4rev1 and POP3, plain TCP, one
 * epoll thread.
 *
 * Rule of this file: just enough of the protocols for the benchmark, answered
 * as Dovecot would; whatever reaches it is counted (XSTATS tells).
 *
 *   nullserver --addr 127.0.0.1 --imap 14300 --pop 14301 [--watched 14302] [--popbig BYTES]
 * On the watched port it also announces COMPRESS=DEFLATE, which a proxy that
 * reads the stream must not let through.
 * Any user whose password is "secret" may log in.  Mailboxes are made up from
 * their names: SIZE-<n> has messages of n bytes, LIST-<n> has n messages,
 * anything else has 200 messages of 4096 bytes.  A structure is that of
 * ordinary mail: text, text and HTML, or text with something attached.  POP3: user "big" has messages
 * of --popbig bytes.  Uploads (APPEND) are compared byte for byte. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>
#include "pattern.h"

#define INSZ 16384
#define OUTSZ 65536
enum { G_NONE, G_BODY, G_LIST };
enum { F_UID = 1, F_FLAGS = 2, F_SIZE = 4, F_ENV = 8, F_STRUCT = 16 };

struct conn {
    int fd, pop, watched, closing, authed, wantout, dead;
    int inlen;
    char in[INSZ];
    int cmdlen;              /* command collected over literals */
    char cmd[INSZ];
    uint64_t litin;          /* small literal still to collect */
    int append; uint64_t app_left, app_off; int app_bad; char tag[64];
    int sasl, idle;
    char user[128];
    uint64_t size; unsigned exists;
    int gen; unsigned cur, end, items; char set[INSZ], *left; uint64_t lit_left, lit_off; int lit_tail;
    int outlen, outpos; char out[1024]; /* small answers */
    char *big; int biglen, bigpos;     /* chunk of a generated listing */
};

static int ep;
static uint64_t popbig = 200u << 20;
static unsigned long long n_logins, n_bad, n_cmds, n_fetched, n_appended; /* asked for with XSTATS */

static void upd(struct conn *c, int wantout)
{
    if (c->wantout == wantout) return;
    struct epoll_event e = { .events = wantout ? EPOLLOUT : EPOLLIN, .data.ptr = c };
    epoll_ctl(ep, EPOLL_CTL_MOD, c->fd, &e);
    c->wantout = wantout;
}
static void say(struct conn *c, const char *s)
{
    int n = strlen(s);
    if (c->outlen + n > (int)sizeof c->out) { c->dead = 1; return; }
    memcpy(c->out + c->outlen, s, n);
    c->outlen += n;
}
static void sayf(struct conn *c, const char *f, ...)
{
    char b[960]; va_list a;
    va_start(a, f); vsnprintf(b, sizeof b, f, a); va_end(a);
    say(c, b);
}
/* 1: all out, 0: blocked, -1: dead */
static int raw(struct conn *c, const char *b, int n, int *pos)
{
    while (*pos < n) {
        ssize_t r = send(c->fd, b + *pos, n - *pos, MSG_NOSIGNAL);
        if (r < 0) return errno == EAGAIN ? 0 : -1;
        *pos += r;
    }
    return 1;
}
/* on to the next range of the set; 0: there is none */
static int more(struct conn *c)
{
    while (c->cur > c->end) {
        if (!c->left || !*c->left) return 0;
        char *s = c->left;
        c->cur = *s == '*' ? (s++, c->exists) : strtoul(s, &s, 10); c->end = c->cur;
        if (*s == ':') { s++; c->end = *s == '*' ? (s++, c->exists) : strtoul(s, &s, 10); }
        if (c->end > c->exists) c->end = c->exists;
        if (!c->cur) c->cur = 1, c->end = 0;
        c->left = *s == ',' ? s + 1 : NULL;
    }
    return 1;
}
static void done_gen(struct conn *c)
{
    c->gen = G_NONE;
    if (!c->pop) sayf(c, "%s OK Fetch completed.\r\n", c->tag);
}
#define PART(t, st, enc, n) "(\"" t "\" \"" st "\" (\"charset\" \"utf-8\") NIL NIL \"" enc "\" " n " 40 NIL NIL NIL NIL)"
static const char *structures[] = {
    PART("text", "plain", "8bit", "3000"),
    "(" PART("text", "plain", "8bit", "800") PART("text", "html", "quoted-printable", "4000") " \"alternative\" (\"boundary\" \"b1\") NIL NIL NIL)",
    "(" PART("text", "plain", "8bit", "600") PART("text", "html", "quoted-printable", "2800") " \"alternative\" (\"boundary\" \"b2\") NIL NIL NIL)",
    "(" PART("text", "plain", "8bit", "500") "(\"application\" \"pdf\" (\"name\" \"a.pdf\") NIL NIL \"base64\" 80000 NIL (\"attachment\" NIL) NIL NIL)"
        " \"mixed\" (\"boundary\" \"b3\") NIL NIL NIL)",
};
/* an answer that only lists, for message c->cur */
static char *listed(struct conn *c, char *p)
{
    unsigned i = c->cur++;
    char *first = p += sprintf(p, "* %u FETCH (", i);
#define SPACE (p > first ? " " : "")
    if (c->items & F_UID) p += sprintf(p, "UID %u", i);
    if (c->items & F_FLAGS) p += sprintf(p, "%sFLAGS (\\Seen%s)", SPACE, c->items & F_ENV ? " \\Answered" : "");
    if (c->items & F_SIZE) p += sprintf(p, "%sRFC822.SIZE %u", SPACE, 2000 + i % 8000);
    if (c->items & F_ENV)
        p += sprintf(p, "%sENVELOPE ("
            "\"Tue, %02u Mar 2024 %02u:%02u:%02u +0100\" \"Re: quarterly figures and the meeting, part %u\" "
            "((\"Alice Example\" NIL \"alice%u\" \"example.org\")) ((\"Alice Example\" NIL \"alice%u\" \"example.org\")) "
            "((\"Alice Example\" NIL \"alice%u\" \"example.org\")) ((\"Bob Builder\" NIL \"bob\" \"example.net\")) NIL NIL "
            "\"<parent.%u@mail.example.net>\" \"<msg.%u.%u@mail.example.org>\")",
            SPACE, 1 + i % 28, i % 24, i % 60, (i * 7) % 60, i, i % 97, i % 97, i % 97, i * 31, i, i * 17);
    if (c->items & F_STRUCT) p += sprintf(p, "%sBODYSTRUCTURE %s", SPACE, structures[i % 4]);
    return p + sprintf(p, ")\r\n");
}
/* push out whatever there is; 1 idle, 0 blocked, -1 dead */
static int pump(struct conn *c)
{
    for (;;) {
        if (c->outpos < c->outlen) {
            int r = raw(c, c->out, c->outlen, &c->outpos);
            if (r != 1) return r;
        }
        c->outpos = c->outlen = 0;
        if (c->bigpos < c->biglen) {
            int r = raw(c, c->big, c->biglen, &c->bigpos);
            if (r != 1) return r;
        }
        c->biglen = c->bigpos = 0;
        while (c->lit_left) {
            uint64_t k = c->lit_left < 262144 ? c->lit_left : 262144;
            ssize_t r = send(c->fd, pat + c->lit_off % PATLEN, k, MSG_NOSIGNAL);
            if (r < 0) return errno == EAGAIN ? 0 : -1;
            c->lit_off += r; c->lit_left -= r; n_fetched += r;
        }
        if (c->lit_tail) {
            c->lit_tail = 0;
            say(c, c->pop ? "\r\n.\r\n" : ")\r\n");
            if (c->pop) c->gen = G_NONE;
            else if (!more(c)) done_gen(c);
            continue;
        }
        if (c->gen == G_NONE) return 1;
        if (c->gen == G_BODY) {
            char id[32] = "";
            if (c->items & F_UID) snprintf(id, sizeof id, "UID %u ", c->cur);
            sayf(c, "* %u FETCH (%s%sBODY[] {%llu}\r\n", c->cur, id, c->items & F_FLAGS ? "FLAGS (\\Seen) " : "", (unsigned long long)c->size);
            c->cur++; c->lit_left = c->size; c->lit_off = 0; c->lit_tail = 1;
            continue;
        }
        if (!c->big) c->big = malloc(OUTSZ);
        char *p = c->big, *e = c->big + OUTSZ - 1024;
        while (p < e && more(c)) p = listed(c, p);
        c->biglen = p - c->big;
        if (!more(c)) { /* the tagged line rides in the last chunk */
            c->biglen += sprintf(c->big + c->biglen, "%s OK Fetch completed.\r\n", c->tag);
            c->gen = G_NONE;
        }
    }
}
static int b64ok(const char *s, const char *end)
{   /* does the decoded text end in "secret"? */
    static const char abc[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    char o[1024]; int n = 0; unsigned v = 0, b = 0;
    for (; s < end && *s && *s != '=' && n < 1000; s++) {
        char *q = strchr(abc, *s);
        if (!q) break;
        v = v << 6 | (q - abc); b += 6;
        if (b >= 8) { b -= 8; o[n++] = v >> b; }
    }
    return n >= 6 && !memcmp(o + n - 6, "secret", 6);
}
/* before login, and after it: as Dovecot 2.3 */
#define CAPS "IMAP4rev1 SASL-IR LOGIN-REFERRALS ID ENABLE IDLE LITERAL+"
#define BEFORE CAPS " AUTH=PLAIN AUTH=XOAUTH2"
#define AFTER CAPS " SORT THREAD=REFERENCES MULTIAPPEND UNSELECT CHILDREN NAMESPACE UIDPLUS LIST-EXTENDED CONDSTORE QRESYNC" \
    " ESEARCH WITHIN LIST-STATUS BINARY MOVE NOTIFY SPECIAL-USE"
static const char *caps(struct conn *c)
{
    return !c->authed ? BEFORE : c->watched ? AFTER " COMPRESS=DEFLATE" : AFTER;
}
static void authdone(struct conn *c, int ok)
{
    c->authed = ok;
    if (ok) n_logins++; else n_bad++;
    if (c->pop) say(c, ok ? "+OK Logged in.\r\n" : "-ERR [AUTH] failed\r\n");
    else if (ok) sayf(c, "%s OK [CAPABILITY %s] Logged in\r\n", c->tag, caps(c));
    else sayf(c, "%s NO [AUTHENTICATIONFAILED] Authentication failed.\r\n", c->tag);
}
static void imap(struct conn *c, char *l)
{
    if (c->sasl == 2) { c->sasl = 0; authdone(c, 1); return; } /* xoauth2 second line */
    if (c->sasl) { c->sasl = 0; authdone(c, b64ok(l, l + strlen(l))); return; }
    if (c->idle) { c->idle = 0; sayf(c, "%s OK Idle completed.\r\n", c->tag); return; }
    char *sp = strchr(l, ' ');
    if (!sp) { say(c, "* BAD\r\n"); return; }
    snprintf(c->tag, sizeof c->tag, "%.*s", (int)(sp - l < 60 ? sp - l : 60), l);
    char *a = sp + 1;
#define IS(s) (!strncasecmp(a, s, sizeof s - 1))
    n_cmds++;
    if (IS("XSTATS")) {
        n_cmds--;
        sayf(c, "* XSTATS logins=%llu bad=%llu cmds=%llu fetched=%llu appended=%llu\r\n%s OK\r\n", n_logins, n_bad, n_cmds,
             n_fetched, n_appended, c->tag);
    } else if (IS("NOOP")) sayf(c, "%s OK NOOP completed.\r\n", c->tag);
    else if (IS("CAPABILITY")) sayf(c, "* CAPABILITY %s\r\n%s OK Capability completed.\r\n", caps(c), c->tag);
    else if (IS("ID ")) sayf(c, "* ID NIL\r\n%s OK ID completed.\r\n", c->tag);
    else if (IS("LOGOUT")) { sayf(c, "* BYE Logging out\r\n%s OK Logout completed.\r\n", c->tag); c->closing = 1; }
    else if (IS("LOGIN ")) authdone(c, strstr(a, "secret") != NULL);
    else if (IS("AUTHENTICATE PLAIN")) {
        if (a[18] == ' ') authdone(c, b64ok(a + 19, a + strlen(a)));
        else { c->sasl = 1; say(c, "+ \r\n"); }
    } else if (IS("AUTHENTICATE XOAUTH2")) {
        if (a[20] == ' ') authdone(c, 1);
        else { c->sasl = 2; say(c, "+ \r\n"); }
    } else if (!c->authed) sayf(c, "%s BAD log in first\r\n", c->tag);
    else if (IS("SELECT ") || IS("EXAMINE ")) {
        char *s; c->size = 4096; c->exists = 200;
        if ((s = strstr(a, "SIZE-"))) c->size = strtoull(s + 5, 0, 10);
        if ((s = strstr(a, "LIST-"))) c->exists = strtoul(s + 5, 0, 10);
        sayf(c, "* FLAGS (\\Answered \\Flagged \\Deleted \\Seen \\Draft)\r\n* %u EXISTS\r\n* 0 RECENT\r\n"
            "* OK [UIDVALIDITY 1] UIDs valid\r\n* OK [UIDNEXT %u] next\r\n%s OK [READ-WRITE] Select completed.\r\n",
            c->exists, c->exists + 1, c->tag);
    } else if (IS("IDLE")) { c->idle = 1; say(c, "+ idling\r\n"); }
    else if (IS("FETCH ") || IS("UID FETCH ")) {
        int uid = IS("UID");
        snprintf(c->set, sizeof c->set, "%s", a + (uid ? 10 : 6));
        char *s = strchr(c->set, ' ');
        if (s) *s++ = 0; else s = "";
        c->left = c->set; c->cur = 1; c->end = 0;
        c->gen = strstr(s, "BODY[") || strstr(s, "BODY.PEEK[") ? G_BODY : G_LIST;
        c->items = (uid || strstr(s, "UID") ? F_UID : 0) | (strstr(s, "FLAGS") ? F_FLAGS : 0) | (strstr(s, "RFC822.SIZE") ? F_SIZE : 0)
            | (strstr(s, "ENVELOPE") ? F_ENV : 0) | (strstr(s, "BODYSTRUCTURE") ? F_STRUCT : 0);
        if (!more(c)) { c->gen = G_NONE; sayf(c, "%s BAD range\r\n", c->tag); }
    } else if (IS("APPEND ")) {
        char *b = strrchr(l, '{');
        if (!b) { sayf(c, "%s BAD literal\r\n", c->tag); return; }
        c->append = 1; c->app_left = strtoull(b + 1, 0, 10); c->app_off = 0; c->app_bad = 0;
        if (!strchr(b, '+')) say(c, "+ OK\r\n");
    } else sayf(c, "%s OK done\r\n", c->tag);
}
static void pop3(struct conn *c, char *a)
{
    if (c->sasl) { c->sasl = 0; authdone(c, b64ok(a, a + strlen(a))); return; }
    if (IS("CAPA")) say(c, "+OK\r\nTOP\r\nUIDL\r\nPIPELINING\r\nUSER\r\nSASL PLAIN\r\n.\r\n");
    else if (IS("USER ")) { snprintf(c->user, sizeof c->user, "%s", a + 5); say(c, "+OK\r\n"); }
    else if (IS("PASS ")) { c->size = !strcmp(c->user, "big") ? popbig : 4096; authdone(c, !strcmp(a + 5, "secret")); }
    else if (IS("AUTH PLAIN")) {
        c->size = 4096;
        if (a[10] == ' ') authdone(c, b64ok(a + 11, a + strlen(a)));
        else { c->sasl = 1; say(c, "+ \r\n"); }
    } else if (IS("QUIT")) { say(c, "+OK Logging out.\r\n"); c->closing = 1; }
    else if (!c->authed) say(c, "-ERR log in first\r\n");
    else if (IS("STAT")) sayf(c, "+OK 200 %llu\r\n", 200ull * c->size);
    else if (IS("UIDL ") || IS("LIST ")) {
        unsigned i = strtoul(a + 5, 0, 10);
        if (IS("UIDL")) sayf(c, "+OK %u u%u\r\n", i, i); else sayf(c, "+OK %u %llu\r\n", i, (unsigned long long)c->size);
    } else if (IS("UIDL") || IS("LIST")) {
        if (!c->big) c->big = malloc(OUTSZ);
        char *p = c->big + sprintf(c->big, "+OK\r\n");
        for (unsigned i = 1; i <= c->exists; i++) p += IS("UIDL") ? sprintf(p, "%u u%u\r\n", i, i) : sprintf(p, "%u %llu\r\n", i, (unsigned long long)c->size);
        c->biglen = p + sprintf(p, ".\r\n") - c->big;
    } else if (IS("TOP ")) say(c, "+OK\r\nSubject: made up\r\n\r\n.\r\n");
    else if (IS("RETR ")) {
        sayf(c, "+OK %llu octets\r\n", (unsigned long long)c->size);
        c->gen = G_BODY; c->lit_left = c->size; c->lit_off = 0; c->lit_tail = 1;
    } else say(c, "+OK\r\n");
}
/* handle what is in the input buffer until an answer is pending */
static void eat(struct conn *c)
{
    int p = 0;
    while (p < c->inlen && !c->outlen && !c->biglen && c->gen == G_NONE && !c->closing && !c->dead) {
        if (c->litin) {
            int k = c->inlen - p; if ((uint64_t)k > c->litin) k = c->litin;
            if (c->cmdlen + k >= (int)sizeof c->cmd) { c->dead = 1; break; }
            memcpy(c->cmd + c->cmdlen, c->in + p, k); c->cmdlen += k; c->litin -= k; p += k;
            continue;
        }
        char *nl = memchr(c->in + p, '\n', c->inlen - p);
        if (!nl) break;
        int k = nl - (c->in + p) + 1, t = k - 1;
        if (t && c->in[p + t - 1] == '\r') t--;
        if (c->cmdlen + t + 1 > (int)sizeof c->cmd) { c->dead = 1; break; }
        if (c->append) { /* the CRLF after an APPEND literal */
            c->append = 0; p += k;
            sayf(c, "%s OK [APPENDUID 1 1] bytes=%llu %s\r\n", c->tag, (unsigned long long)c->app_off,
                 c->app_bad ? "DIFFERS" : "same");
            continue;
        }
        memcpy(c->cmd + c->cmdlen, c->in + p, t); c->cmdlen += t; c->cmd[c->cmdlen] = 0; p += k;
        if (c->pop) { c->cmdlen = 0; pop3(c, c->cmd); continue; }
        char *b;
        if (t && c->cmd[c->cmdlen - 1] == '}' && !strcasestr(c->cmd, " APPEND ") && (b = strrchr(c->cmd, '{'))) {
            c->litin = strtoul(b + 1, 0, 10);
            if (!strchr(b, '+')) say(c, "+ OK\r\n");
            c->cmdlen = b - c->cmd;
            continue;
        }
        c->cmdlen = 0;
        imap(c, c->cmd);
        if (c->append) break;
    }
    memmove(c->in, c->in + p, c->inlen - p);
    c->inlen -= p;
}
static void bye(struct conn *c) { close(c->fd); free(c->big); free(c); }
static void app(struct conn *c, const char *b, int n)
{
    if (!c->app_bad && pattern_differs(b, n, c->app_off)) c->app_bad = 1;
    c->app_off += n; c->app_left -= n; n_appended += n;
}
static void on(struct conn *c, uint32_t ev)
{
    static char big[262144];
    int gotin = ev & (EPOLLIN | EPOLLHUP | EPOLLERR);
    for (;;) {
        int r = pump(c);
        if (r < 0 || c->dead) { bye(c); return; }
        if (r == 0) { upd(c, 1); return; }
        if (c->closing) { bye(c); return; }
        upd(c, 0);
        if (c->append && c->app_left && c->inlen) {
            int k = c->inlen; if ((uint64_t)k > c->app_left) k = c->app_left;
            app(c, c->in, k);
            memmove(c->in, c->in + k, c->inlen - k); c->inlen -= k;
        }
        if (c->inlen && !(c->append && c->app_left)) {
            eat(c);
            if (c->outlen || c->biglen || c->gen || c->closing || c->dead) continue;
        }
        if (!gotin) return;
        gotin = 0; /* one read per wake-up: level triggered */
        ssize_t n;
        if (c->append && c->app_left) {
            n = recv(c->fd, big, c->app_left < sizeof big ? c->app_left : sizeof big, 0);
            if (n > 0) { app(c, big, n); continue; }
        } else {
            if (c->inlen >= INSZ) { bye(c); return; }
            n = recv(c->fd, c->in + c->inlen, INSZ - c->inlen, 0);
            if (n > 0) { c->inlen += n; continue; }
        }
        if (n < 0 && errno == EAGAIN) return;
        bye(c); return;
    }
}
static int lsn(const char *addr, int port)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), on1 = 1;
    struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(port) };
    inet_pton(AF_INET, addr, &a.sin_addr);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on1, sizeof on1);
    if (bind(fd, (void *)&a, sizeof a) || listen(fd, 4096)) { perror("nullserver: listen"); exit(1); }
    return fd;
}
int main(int ac, char **av)
{
    const char *addr = "127.0.0.1"; int pi = 14300, pp = 14301, pw = 0;
    for (int i = 1; i + 1 < ac; i += 2) {
        if (!strcmp(av[i], "--addr")) addr = av[i + 1];
        else if (!strcmp(av[i], "--imap")) pi = atoi(av[i + 1]);
        else if (!strcmp(av[i], "--pop")) pp = atoi(av[i + 1]);
        else if (!strcmp(av[i], "--watched")) pw = atoi(av[i + 1]);
        else if (!strcmp(av[i], "--popbig")) popbig = strtoull(av[i + 1], 0, 10);
    }
    signal(SIGPIPE, SIG_IGN);
    struct rlimit rl; getrlimit(RLIMIT_NOFILE, &rl); rl.rlim_cur = rl.rlim_max; setrlimit(RLIMIT_NOFILE, &rl);
    pattern_init();
    ep = epoll_create1(0);
    int l[3] = { lsn(addr, pi), lsn(addr, pp), pw ? lsn(addr, pw) : -1 };
    for (int i = 0; i < (pw ? 3 : 2); i++) {
        struct epoll_event e = { .events = EPOLLIN, .data.ptr = &l[i] };
        epoll_ctl(ep, EPOLL_CTL_ADD, l[i], &e);
    }
    struct epoll_event ev[256];
    for (;;) {
        int n = epoll_wait(ep, ev, 256, -1);
        for (int i = 0; i < n; i++) {
            int *lp = ev[i].data.ptr;
            if (lp >= l && lp < l + 3) {
                for (int k = 0; k < 64; k++) {
                    int fd = accept4(*lp, 0, 0, SOCK_NONBLOCK), one = 1;
                    if (fd < 0) break;
                    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
                    struct conn *c = calloc(1, sizeof *c);
                    c->fd = fd; c->pop = lp == &l[1]; c->watched = lp == &l[2]; c->size = 4096; c->exists = 200;
                    struct epoll_event e = { .events = EPOLLIN, .data.ptr = c };
                    epoll_ctl(ep, EPOLL_CTL_ADD, fd, &e);
                    say(c, c->pop ? "+OK null ready\r\n" : "* OK [CAPABILITY " BEFORE "] null ready\r\n");
                    on(c, 0);
                }
            } else on(ev[i].data.ptr, ev[i].events);
        }
    }
}
