/**
 * How long to wait before try `failures + 1`: full jitter, uniform in [0, min(cap, base · 2^(failures − 1))).
 * Full jitter spreads a crowd of clients best for its work (AWS Architecture Blog, "Exponential Backoff And Jitter").
 * `random` is uniform in [0, 1). Milliseconds.
 */
export function backoffMs(failures: number, baseMs: number, capMs: number, random: () => number): number {
  // 2^30 · 1 ms is 12 days: beyond any cap, and below where the power would overflow.
  return random() * Math.min(capMs, baseMs * 2 ** Math.min(failures - 1, 30));
}
