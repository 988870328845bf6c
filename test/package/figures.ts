/** What was seen, for docs/containers.md: main.ts prints these lines at the end. */

const MARK = '     figure: ';

export const figure = (what: string, value: string | number): void =>
  console.log(`${MARK}${what}: ${value}`);

export const seconds = (what: string, value: number): void => figure(what, `${value.toFixed(1)} s`);

/** Of a test's output. */
export const figuresIn = (output: string): string[] =>
  [...output.matchAll(/figure: (.*)$/gm)].map(([, said = '']) => said);
