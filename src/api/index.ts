/** What the package is for programs: `import { connect } from 'fantail'`. */
export type { Change, Subject, ToldChange } from '../domain/change.js';
export type { ConfigurationAnswer, ReloadAnswer } from '../domain/configuration.js';
export type { Endpoint } from '../domain/endpoint.js';
export { type Code, codes, Failure, FantailError } from '../domain/errors.js';
export type { GapEvent, WatchEvent } from '../domain/replicator.js';
export type * from '../domain/statistics.js';
export {
  type AddOptions,
  type ConnectOptions,
  connect,
  Fantail,
  type FeedToAdd,
} from './fantail.js';
