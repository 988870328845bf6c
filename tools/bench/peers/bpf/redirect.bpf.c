// SPDX-License-Identifier: MIT-0
#include "redirect.h"

SEC("xdp")
int redirect(struct xdp_md *ctx)
{
	return to_socket(ctx);
}

char LICENSE[] SEC("license") = "MIT-0";
