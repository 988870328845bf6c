/**
 * The dashboard as the control port serves it: one HTML page with its script and style inside
 * (tools/build-dashboard.mjs makes it of src/dashboard/), and the headers that keep it to itself.
 *
 * It holds no secret and no figure, so it may be kept by a browser, which asks each time whether it
 * is still the same (ETag).
 */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { gzipSync } from 'node:zlib';
import { pageFile } from '../domain/installation.js';

/** A browser says that it takes HTML; curl, and most programs, that they take anything. */
export function wantsPage({ url, headers }: IncomingMessage): boolean {
  return url === '/' && /(^|[,\s])text\/html\b/.test(headers.accept ?? '');
}

interface Built {
  readonly html: Buffer;
  readonly gzipped: Buffer;
  readonly etag: string;
  /** CSP sources of its scripts and of its styles. */
  readonly scripts: string;
  readonly styles: string;
}

export class Page {
  /** As it was when the port was opened: of the build that serves it, whatever is built since. */
  readonly #html: Buffer | null;
  /** Made for the first who asks: a start has no time for it. */
  #built: Built | null = null;
  /** Why there is none, for who asks for it; null: there is one. */
  readonly lack: string | null;

  constructor(
    private readonly scheme: 'ws' | 'wss',
    file: string = pageFile(),
    onError: (thrown: unknown) => void = () => {},
  ) {
    try {
      this.#html = readFileSync(file);
      this.lack = null;
    } catch (thrown) {
      this.#html = null;
      const isMissing = (thrown as NodeJS.ErrnoException).code === 'ENOENT';
      this.lack = isMissing ? NOT_BUILT : 'the dashboard cannot be read; the log says why';
      if (!isMissing) onError(thrown);
    }
  }

  /** False: there is none; see `lack`. */
  serve(request: IncomingMessage, response: ServerResponse): boolean {
    if (this.#html === null) return false;
    this.#built ??= builtOf(this.#html);
    const { html, gzipped, etag } = this.#built;
    response.setHeader('ETag', etag);
    response.setHeader('Vary', 'Accept, Accept-Encoding');
    response.setHeader('Cache-Control', 'no-cache');
    for (const [name, value] of Object.entries(GUARDS)) response.setHeader(name, value);
    const policy = policyOf(this.#built, `${this.scheme}://${request.headers.host}`);
    response.setHeader('Content-Security-Policy', policy);
    if (request.headers['if-none-match'] === etag) {
      response.writeHead(304).end();
      return true;
    }
    const isGzip = /\bgzip\b/.test(String(request.headers['accept-encoding'] ?? ''));
    if (isGzip) response.setHeader('Content-Encoding', 'gzip');
    const body = isGzip ? gzipped : html;
    response.writeHead(200, {
      'Content-Type': 'text/html; charset=utf-8',
      'Content-Length': body.length,
    });
    response.end(request.method === 'HEAD' ? undefined : body);
    return true;
  }
}

const NOT_BUILT = 'the dashboard is not built: npm run build';

/** Beside the policy: what old browsers know, and what it does not say. */
const GUARDS = {
  'X-Content-Type-Options': 'nosniff',
  'X-Frame-Options': 'DENY',
  'Referrer-Policy': 'no-referrer',
  'Cross-Origin-Opener-Policy': 'same-origin',
  'Cross-Origin-Resource-Policy': 'same-origin',
  'Permissions-Policy': 'camera=(), geolocation=(), microphone=(), payment=(), usb=()',
};

/**
 * The socket is named beside 'self', which some browsers take for http alone. The image is the icon
 * of the tab, in the page itself: without one a browser would ask for another file.
 */
function policyOf({ scripts, styles }: Built, socket: string): string {
  return [
    "default-src 'none'",
    `script-src ${scripts}`,
    `style-src ${styles}`,
    `connect-src 'self' ${socket}`,
    'img-src data:',
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
    "require-trusted-types-for 'script'",
    "trusted-types 'none'",
  ].join('; ');
}

function builtOf(html: Buffer): Built {
  const etag = `"${createHash('sha256').update(html).digest('base64url').slice(0, 22)}"`;
  const text = html.toString();
  const [scripts, styles] = [hashesOf(text, 'script'), hashesOf(text, 'style')];
  return { html, gzipped: gzipSync(html), etag, scripts, styles };
}

/** Of what stands in each element of that name; the build sees to it that no `</` is in there. */
function hashesOf(html: string, element: 'script' | 'style'): string {
  const found = html.matchAll(new RegExp(`<${element}>([\\s\\S]*?)</${element}>`, 'g'));
  return [...found]
    .map(([, inside = '']) => `'sha256-${createHash('sha256').update(inside).digest('base64')}'`)
    .join(' ');
}
