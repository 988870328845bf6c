/** An answer of etcd's gateway that goes on: one JSON object a line. */
import type { Json } from './answers.js';
import { EtcdAway } from './answers.js';
import type { Stream } from './gateway.js';

/** Bytes of one line: a module of 1 MiB in base64, or some thousand changes. */
const LINE_SIZE_MAX = 64 * 1024 * 1024;

/**
 * The objects as they come. Returns where none has come for `silence_ms`, or `signal` says stop;
 * throws EtcdAway where the connection ends.
 */
export async function* linesOf(
  { response, close }: Stream,
  { silence_ms, signal }: { silence_ms: number; signal: AbortSignal },
): AsyncGenerator<Json> {
  let isEnded = false;
  const end = () => {
    isEnded = true;
    close();
  };
  let timer = setTimeout(end, silence_ms);
  signal.addEventListener('abort', end);
  if (signal.aborted) end();
  let parts: Buffer[] = [];
  let size = 0;
  try {
    for await (const chunk of response as AsyncIterable<Buffer>) {
      clearTimeout(timer);
      timer = setTimeout(end, silence_ms);
      let from = 0;
      for (let at = chunk.indexOf(0x0a); at >= 0; at = chunk.indexOf(0x0a, from)) {
        const text = Buffer.concat([...parts, chunk.subarray(from, at)]).toString();
        [parts, size, from] = [[], 0, at + 1];
        if (text.trim() !== '') yield JSON.parse(text) as Json;
        if (isEnded) return;
      }
      parts.push(chunk.subarray(from));
      size += chunk.length - from;
      if (size > LINE_SIZE_MAX) throw new Error(`a line of more than ${LINE_SIZE_MAX} bytes`);
    }
  } catch (error) {
    if (isEnded) return;
    throw new EtcdAway((error as Error).message); // whatever is thrown here is one
  } finally {
    clearTimeout(timer);
    signal.removeEventListener('abort', end);
  }
  if (!isEnded) throw new EtcdAway('a watch was ended');
}
