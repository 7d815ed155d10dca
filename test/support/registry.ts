/** Whether npm's registry answers, for tests that install from it; asked as npm asks, wherever its settings say that it lies. */

const LIMIT_MS = 60_000;

/** Says that `what` is skipped, and why; returns whether it is not. */
export async function reachesRegistry(what: string): Promise<boolean> {
  const reason = await noRegistry();
  if (reason !== undefined) console.error(`SKIPPED: ${what}: ${reason}`);
  return reason === undefined;
}

/** Why packages cannot be installed; undefined where they can. */
export async function noRegistry(): Promise<string | undefined> {
  const retries = ["--fetch-retries=1", "--fetch-retry-mintimeout=1000"];
  const child = Bun.spawn(["npm", "view", "bun", "version", "--prefer-online", ...retries], {
    cwd: import.meta.dir,
    timeout: LIMIT_MS,
    stdio: ["ignore", "ignore", "pipe"],
  });
  const said = await child.stderr.text();
  if ((await child.exited) === 0) return undefined;
  return `the registry of npm does not answer: ${said.trim().split("\n")[0] || "within a minute"}`;
}
