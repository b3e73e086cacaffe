/* Preloaded, it has every look-up of a host's name fail as without a DNS server; addresses are no names. */

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dlfcn.h>
#include <netdb.h>
#include <string.h>

typedef int lookup(const char *, const char *, const struct addrinfo *, struct addrinfo **);

int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints, struct addrinfo **found) {
    unsigned char address[16];
    if (node && inet_pton(AF_INET, node, address) != 1 && !strchr(node, ':'))
        return EAI_AGAIN;
    return ((lookup *)dlsym(RTLD_NEXT, "getaddrinfo"))(node, service, hints, found);
}
