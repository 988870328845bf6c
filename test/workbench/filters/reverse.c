/*
 * A filter in C: sends each packet back to where it came from, as it came, with sender and receiver
 * exchanged in each header. The checksums stay right, since sums do not mind the order of their
 * words. No parameter, no state.
 *
 *   clang --target=wasm32 -O2 -nostdlib -mno-bulk-memory -Wl,--no-entry -Wl,--import-memory \
 *     -o reverse.wasm reverse.c
 */
#include "fantail.h"

static void exchange(u8 *to, const u8 *from, u32 half)
{
	for (u32 i = 0; i < half; i++) {
		to[i] = from[half + i];
		to[half + i] = from[i];
	}
}

static void answer(struct job *job)
{
	if (job->length < HEADER_SIZE) {
		job->verdict = DROP_COPY;
		return;
	}
	u8 *header = job->slot;
	const u8 *packet = job->packet;
	for (u32 i = 12; i < HEADER_SIZE; i++)
		header[i] = packet[i];
	exchange(header, packet, 6);	       /* MACs */
	exchange(header + 26, packet + 26, 4); /* addresses */
	exchange(header + 34, packet + 34, 2); /* ports */
	job->header_start = 0;
	job->header_length = HEADER_SIZE;
	job->replaced = HEADER_SIZE;
	job->verdict = SEND;
}

EXPORT(fantail_abi) int fantail_abi(void)
{
	return FANTAIL_ABI;
}

EXPORT(fantail_burst) void fantail_burst(struct job *jobs, u32 first, u32 count)
{
	for (u32 i = first; i < first + count; i++)
		answer(&jobs[i]);
}
