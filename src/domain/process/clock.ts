/**
 * The clock that all processes of a machine share and nobody sets (CLOCK_MONOTONIC): milliseconds,
 * to the microsecond. performance.now() begins with its process.
 */
export const monotonicMs = (): number => Number(process.hrtime.bigint() / 1000n) / 1000;
