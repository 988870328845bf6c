/** Takes a share of a core, `burner.js 0.5`, in slices as a program has that answers questions. */
const SLICE_MS = 2;
const share = Math.min(Number(process.argv[2] ?? '0'), 1);

console.log('ready');
for (;;) {
  const end = performance.now() + SLICE_MS * share;
  while (performance.now() < end);
  await new Promise((resolve) => setTimeout(resolve, SLICE_MS * (1 - share)));
}
