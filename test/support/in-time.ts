/**
 * How long a test waits for what is to come (`vi.waitFor`, `expect.poll`): a bound on a hang, and no measure of speed. The default of 1 s is passed by a
 * machine that is loaded, or stands still for a moment.
 */
export const IN_TIME = { timeout: 20_000 } as const;
