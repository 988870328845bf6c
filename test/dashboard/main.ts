/**
 * `npm run dashboard -- --pictures`: the pictures of docs/dashboard/, of a real run.
 *
 * Both need root: a virtual link, and a browser that is fetched where there is none.
 */
import { parseArgs } from 'node:util';
import { lackForBrowser } from './browser.js';
import { takePictures } from './pictures.js';

const { values } = parseArgs({
  options: { pictures: { type: 'boolean' }, into: { type: 'string' } },
});
const lack = lackForBrowser();
if (lack !== null) {
  console.error(`dashboard: ${lack}`);
  process.exit(1);
}
if (values.pictures) await takePictures(values.into);
