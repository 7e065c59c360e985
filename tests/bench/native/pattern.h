/* Rule of this file: one message body that both C programs know, so that every byte that passed
 * through a proxy can be compared.  Byte i of a body is pat[i % PATLEN]:
 * 76 letters and CRLF per line, no line starts with a dot. */
#ifndef PATTERN_H
#define PATTERN_H
#include <stdint.h>
#include <string.h>
#define PATLINES 13440
#define PATLEN (PATLINES * 78)
static char pat[2 * PATLEN]; /* twice, so a run never has to wrap */
static void pattern_init(void)
{
    static const char abc[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    uint64_t x = 88172645463325252ull;
    char *p = pat;
    for (int l = 0; l < PATLINES; l++) {
        for (int i = 0; i < 76; i++) {
            x ^= x << 13; x ^= x >> 7; x ^= x << 17;
            *p++ = abc[x & 63];
        }
        *p++ = '\r'; *p++ = '\n';
    }
    memcpy(pat + PATLEN, pat, PATLEN);
}
/* 0 when buf[0..n) equals the body from offset off */
__attribute__((unused)) static int pattern_differs(const char *buf, size_t n, uint64_t off)
{
    while (n) {
        size_t k = n < PATLEN ? n : PATLEN;
        if (memcmp(buf, pat + off % PATLEN, k)) return 1;
        buf += k; n -= k; off += k;
    }
    return 0;
}
#endif
