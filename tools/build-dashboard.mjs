// Makes the dashboard of src/dashboard/: one HTML page, build/dashboard/page.html, with its script
// and style inside, so that it is one answer of the control port and asks for nothing else. Called
// by tools/build.mjs.
import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const ROOT = join(dirname(fileURLToPath(import.meta.url)), '..');
const SOURCE = join(ROOT, 'src', 'dashboard');
const TARGET = join(ROOT, 'build', 'dashboard');

/** The bundle of an entry as text. */
async function bundled(entry, options = {}) {
  const { outputFiles } = await build({
    ...options,
    entryPoints: [entry],
    bundle: true,
    write: false,
    minify: true,
    // what the browsers of the last two years know; light-dark() in style.css is the newest
    target: ['chrome123', 'firefox128', 'safari17.5'],
    platform: 'browser', // so that an import of node: is an error
    format: 'iife',
    legalComments: 'none',
    define: { 'process.env.NODE_ENV': '"production"' },
    logLevel: 'warning',
  });
  return outputFiles[0].text.trimEnd();
}

/** Text of an element, which must not end it, nor begin a comment in it (HTML, 13.2.5.20). */
function inElement(name, text) {
  const wrong = new RegExp(`</${name}|<!--`, 'i').exec(text);
  if (wrong !== null) throw new Error(`${wrong[0]} in the ${name} of the dashboard`);
  return text;
}

const style = inElement('style', await bundled(join(SOURCE, 'style.css')));
const script = inElement('script', await bundled(join(SOURCE, 'main.tsx')));
const page = readFileSync(join(SOURCE, 'page.html'), 'utf8')
  .replace('/* style */', () => style)
  .replace('/* script */', () => script);
mkdirSync(TARGET, { recursive: true });
const file = join(TARGET, 'page.html');
writeFileSync(`${file}.new`, page);
renameSync(`${file}.new`, file); // a fantail that runs reads a whole one
