/**
 * `npm run dashboard -- --pictures`: the pictures of docs/dashboard/, of a real run.
 * `npm run dashboard -- --measure --minutes 10`: what a tab costs with 1000 subscribers.
 *
 * Both need root: a virtual link, and a browser that is fetched where there is none.
 */
import { parseArgs } from 'node:util';
import { lackForBrowser } from './browser.js';
import { measure } from './measure.js';
import { takePictures } from './pictures.js';

const { values } = parseArgs({
  options: {
    pictures: { type: 'boolean' },
    /** Another folder than docs/dashboard. */
    into: { type: 'string' },
    measure: { type: 'boolean' },
    minutes: { type: 'string', default: '10' },
  },
});
const minutes = Number(values.minutes);
if ((!values.pictures && !values.measure) || !(minutes >= 0)) {
  console.error(
    'usage: npm run dashboard -- [--pictures [--into FOLDER]] [--measure [--minutes N]]',
  );
  process.exit(2);
}
const lack = lackForBrowser();
if (lack !== null) {
  console.error(`dashboard: ${lack}`);
  process.exit(1);
}
if (values.pictures) await takePictures(values.into);
if (values.measure) await measure(minutes);
