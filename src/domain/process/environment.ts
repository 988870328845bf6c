/** The environment of the processes that we start. */

/**
 * Ours, for a Node that speaks no TLS: without the certificates that its user adds, which Node 20
 * reads and decodes at each start, 40 ms of CPU where they are a distribution's. Who takes a dead
 * worker's place must not be late for that.
 */
export function environmentWithoutTls(): NodeJS.ProcessEnv {
  const { NODE_EXTRA_CA_CERTS: _, ...others } = process.env;
  return others;
}
