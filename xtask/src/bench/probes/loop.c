/* The least that asks so many hosts: one ping socket for each uplink, all hosts of an uplink with one
 * sendmmsg, the uplinks at even distances over the second, the answers with recvmmsg and their kernel
 * stamps. Prints what was sent, what was answered, and the processor time in microseconds.
 * Usage: loop SECONDS UPLINKS TARGETS */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/ip_icmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>

#define MOST 256
static struct mmsghdr out[MOST], in[MOST];
static struct iovec out_part[MOST], in_part[MOST];
static struct sockaddr_in to[MOST];
static char question[MOST][16], answer[MOST][128], control[MOST][64];

static long long nanos(struct timespec t) { return t.tv_sec * 1000000000LL + t.tv_nsec; }

int main(int argc, char **argv) {
    if (argc != 4) return 2;
    int seconds = atoi(argv[1]), uplinks = atoi(argv[2]), targets = atoi(argv[3]);
    if (uplinks > MOST || targets > MOST) return 2;
    int sockets[MOST], on = 1;
    long long sent = 0, answered = 0, took = 0;
    for (int n = 0; n < uplinks; n++) {
        char device[16];
        snprintf(device, sizeof device, "up%d", n + 1);
        sockets[n] = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, IPPROTO_ICMP);
        if (sockets[n] < 0 ||
            setsockopt(sockets[n], SOL_SOCKET, SO_BINDTODEVICE, device, strlen(device)) ||
            setsockopt(sockets[n], SOL_SOCKET, SO_TIMESTAMPNS, &on, sizeof on)) {
            perror(device);
            return 1;
        }
    }
    struct timespec start, at;
    clock_gettime(CLOCK_MONOTONIC, &start);
    for (int round = 0; round < seconds * uplinks; round++) {
        long long due = nanos(start) + round * (1000000000LL / uplinks);
        at.tv_sec = due / 1000000000LL;
        at.tv_nsec = due % 1000000000LL;
        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL);
        int n = round % uplinks;
        for (int k = 0; k < targets; k++) {
            struct icmphdr *echo = (struct icmphdr *)question[k];
            memset(question[k], 0, sizeof question[k]);
            echo->type = ICMP_ECHO;
            echo->un.echo.sequence = htons(k);
            to[k].sin_family = AF_INET;
            to[k].sin_addr.s_addr = htonl(0xc6120000u | (n + 1) << 8 | (k + 1));
            out_part[k] = (struct iovec){question[k], sizeof question[k]};
            out[k].msg_hdr = (struct msghdr){&to[k], sizeof to[k], &out_part[k], 1, 0, 0, 0};
            in_part[k] = (struct iovec){answer[k], sizeof answer[k]};
            in[k].msg_hdr = (struct msghdr){0, 0, &in_part[k], 1, control[k], sizeof control[k], 0};
        }
        clock_gettime(CLOCK_REALTIME, &at);
        int done = sendmmsg(sockets[n], out, targets, 0);
        if (done > 0) sent += done;
        done = recvmmsg(sockets[n], in, targets, MSG_DONTWAIT, NULL);
        for (int k = 0; k < done; k++) {
            struct cmsghdr *c = CMSG_FIRSTHDR(&in[k].msg_hdr);
            struct timespec stamp;
            if (!c) continue;
            memcpy(&stamp, CMSG_DATA(c), sizeof stamp);
            took += nanos(stamp) - nanos(at);
            answered++;
        }
    }
    struct rusage use;
    getrusage(RUSAGE_SELF, &use);
    printf("%lld %lld %lld %lld\n", sent, answered,
           (use.ru_utime.tv_sec + use.ru_stime.tv_sec) * 1000000LL + use.ru_utime.tv_usec +
               use.ru_stime.tv_usec,
           took / (answered ? answered : 1));
    return 0;
}
