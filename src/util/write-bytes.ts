/**
 * Of one write to a file: it copies to memory of the system, 1 ms a MiB, and 20 where that memory has to be found first. Until the call returns, kernels as
 * servers run them (PREEMPT_NONE) give its processor to nobody: steps of a training loop wait. Shorter calls cost nothing that could be measured.
 */
export const WRITE_BYTES: number = 256 * 1024;
