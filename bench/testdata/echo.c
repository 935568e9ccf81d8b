// A bare UDP echo, the floor for a server: recvmmsg and sendmmsg on one
// blocking socket, and nothing in between. In C, since nothing that has a
// runtime of its own can be lower.
//
// echo PORT SIZE answers each datagram with SIZE bytes, of which the first are those
// that came. With a third argument it is deaf to announcements of Syncthing's
// protocol, as a server is that takes them in.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

enum { BATCH = 64, LENGTH = 9216 };

static unsigned char buffers[BATCH][LENGTH];
static struct mmsghdr in[BATCH], out[BATCH];
static struct iovec into[BATCH], from[BATCH];
static struct sockaddr_in names[BATCH];

int main(int argc, char **argv) {
	if (argc < 3) {
		fprintf(stderr, "usage: echo PORT SIZE [deaf]\n");
		return 2;
	}
	unsigned size = atoi(argv[2]);
	int fd = socket(AF_INET, SOCK_DGRAM, 0), space = 4 << 20;
	setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &space, sizeof space);
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(atoi(argv[1]))};
	if (size > LENGTH || bind(fd, (struct sockaddr *)&at, sizeof at) != 0) {
		perror("echo");
		return 1;
	}
	for (int i = 0; i < BATCH; i++) {
		into[i] = (struct iovec){buffers[i], LENGTH};
		in[i].msg_hdr = (struct msghdr){.msg_name = &names[i], .msg_iov = &into[i], .msg_iovlen = 1};
	}
	puts("ready");
	fflush(stdout);
	for (;;) {
		for (int i = 0; i < BATCH; i++)
			in[i].msg_hdr.msg_namelen = sizeof names[i];
		int n = recvmmsg(fd, in, BATCH, MSG_WAITFORONE, NULL), answers = 0;
		if (n < 0) {
			perror("recvmmsg");
			return 1;
		}
		for (int i = 0; i < n; i++) {
			if (argc > 3 && memcmp(buffers[i], "\x9D\x79\xBC\x39", 4) == 0)
				continue;
			from[answers] = (struct iovec){buffers[i], size};
			out[answers].msg_hdr = (struct msghdr){
				.msg_name = &names[i], .msg_namelen = sizeof names[i], .msg_iov = &from[answers], .msg_iovlen = 1};
			answers++;
		}
		for (int sent = 0; sent < answers;) {
			int k = sendmmsg(fd, out + sent, answers - sent, 0);
			if (k < 0) {
				perror("sendmmsg");
				return 1;
			}
			sent += k;
		}
	}
}
