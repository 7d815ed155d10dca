/** Runs a suite of this repository inside a guest, where there is an RDMA device. */
import type { StartOptions } from "./commands.ts";
import type { Guest } from "./guest.ts";

export interface SuiteResult {
  pass: number;
  fail: number;
  skip: number;
  output: string;
}

export interface SuiteOptions extends Pick<StartOptions, "user"> {
  /** For one test; everything is about ten times slower in a guest. */
  testLimitMs?: number;
  suiteLimitMs?: number;
}

/** Runs `bun test` in the guest's copy of the repository; shows each test's result as it comes. */
export async function runSuiteInGuest(
  guest: Guest,
  paths: readonly string[],
  env: Record<string, string> = {},
  options: SuiteOptions = {},
): Promise<SuiteResult> {
  const { testLimitMs = 120_000, suiteLimitMs = 1_200_000, ...rest } = options;
  let unfinished = "";
  const show = (text: string): void => {
    const lines = (unfinished + text).split("\n");
    unfinished = lines.pop() ?? "";
    for (const line of lines)
      if (/^\((pass|fail|skip|todo)\)/.test(line)) console.error(`[${guest.name}] ${line}`);
  };
  const { exitCode, output } = await guest.run(
    `node_modules/.bin/bun test --timeout ${testLimitMs} ${paths.join(" ")}`,
    { ...rest, env: { NO_COLOR: "1", ...env }, onOutput: show, timeoutMs: suiteLimitMs },
  );
  const count = (word: string): number =>
    Number(new RegExp(`^ (\\d+) ${word}$`, "m").exec(output)?.[1] ?? 0);
  const result = {
    pass: count("pass"),
    fail: count("fail"),
    skip: count("skip") + count("todo"),
    output,
  };
  if (!/^Ran \d+ tests? across/m.test(output) || (exitCode !== 0 && result.fail === 0))
    throw new Error(`${paths.join(" ")} broke off in the guest with ${exitCode}:\n${output}`);
  return result;
}
