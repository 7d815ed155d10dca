/** Exit codes of every command. */
export const EXIT = {
  ok: 0,
  failed: 1,
  usage: 2,
  noExecutor: 3,
  leaseLost: 4,
  timeout: 124,
} as const;
