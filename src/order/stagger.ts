/**
 * How many chunks each lane's first window holds, 1 … windowChunks, so that lanes change windows at different times.
 * `firstChunkLeft[l]` is what lane l has of its first chunk, since lanes are cut within chunks. Evenly spaced changes would come at
 * k × windowChunks ÷ lanes chunks: the lanes in the order of their first chunk's rest get these in the order of their fractions,
 * and keep the whole chunks. O(lanes · log lanes).
 */
export function staggeredFirstWindows(firstChunkLeft: ArrayLike<number>, windowChunks: number): Int32Array {
  const lanes = firstChunkLeft.length;
  const byRest = Array.from({ length: lanes }, (_, lane) => lane).sort((a, b) => firstChunkLeft[a]! - firstChunkLeft[b]! || a - b);
  const byFraction = Array.from({ length: lanes }, (_, k) => k * windowChunks).sort((a, b) => (a % lanes) - (b % lanes) || a - b);
  const chunks = new Int32Array(lanes);
  for (const [turn, lane] of byRest.entries()) chunks[lane] = 1 + Math.floor(byFraction[turn]! / lanes);
  return chunks;
}

/**
 * How much more than the open windows must be held for the loop never to wait when lanes change windows, as a part of the windows'
 * bytes: 1 ÷ lanes if the changes are evenly spaced, 1 if all come at once. The epoch's one short chunk is left out of account.
 */
export function turnoverShare(sampleCount: number, lanes: number, chunkSamples: number, windowChunks: number): number {
  const left = new Float64Array(lanes);
  for (let lane = 0; lane < lanes; lane++) left[lane] = chunkSamples - (laneStart(sampleCount, lanes, lane) % chunkSamples);
  const first = staggeredFirstWindows(left, windowChunks);
  const period = chunkSamples * windowChunks;
  const changes = left.map((samples, lane) => (samples + (first[lane]! - 1) * chunkSamples + lane / lanes) / period).sort();
  let above = Number.NEGATIVE_INFINITY;
  let below = Number.POSITIVE_INFINITY;
  for (const [i, time] of changes.entries()) {
    above = Math.max(above, (i + 1) / lanes - time);
    below = Math.min(below, i / lanes - time);
  }
  return Math.min(1, above - below);
}

/** Where a lane begins in the concatenated chunks: lanes are as long as they have positions, so the first `n mod lanes` have one more. */
export function laneStart(sampleCount: number, lanes: number, lane: number): number {
  return lane * Math.floor(sampleCount / lanes) + Math.min(lane, sampleCount % lanes);
}
