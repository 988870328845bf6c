/** What the control port serves to a monitoring system over plain HTTP: `/metrics`. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { CONTENT_TYPE, expositionOf } from './exposition.js';
import { familiesOf, type Snapshot } from './families.js';

export interface MetricsOptions {
  /** What there is to tell now; must not wait for a worker. */
  readonly snapshot: () => Promise<Snapshot>;
  /** Told of each error that is a fault of fantail's own. */
  readonly onError: (error: unknown) => void;
}

/** Answers `/metrics`; false: the request asks for something else. */
export function metricsHandler({ snapshot, onError }: MetricsOptions) {
  const answer = async (request: IncomingMessage, response: ServerResponse) => {
    try {
      const text = await expositionOf(familiesOf(await snapshot()));
      response.writeHead(200, { 'Content-Type': CONTENT_TYPE });
      response.end(request.method === 'HEAD' ? '' : text);
    } catch (thrown) {
      onError(thrown);
      response.writeHead(500).end();
    }
  };
  return (request: IncomingMessage, response: ServerResponse): boolean => {
    if (pathOf(request) !== '/metrics') return false;
    void answer(request, response);
    return true;
  };
}

const pathOf = (request: IncomingMessage) => (request.url ?? '').split('?')[0];
