/** The client of a command: for as long as its work, and telling replies as `--json` wants them. */
import { connect, type Fantail } from '../api/fantail.js';
import type { ClientFlags } from '../control/client.js';

/**
 * Connects, does `work`, and closes whatever happens. With `json` each reply is printed as it came,
 * and nothing else should be.
 */
export async function withFantail<Result>(
  { json, ...flags }: ClientFlags & { readonly json?: boolean },
  work: (fantail: Fantail) => Promise<Result>,
): Promise<Result> {
  const telling = json ? { onReply: (text: string) => console.log(text) } : {};
  const fantail = await connect({ ...flags, ...telling });
  try {
    return await work(fantail);
  } finally {
    fantail.close();
  }
}
