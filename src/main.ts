#!/usr/bin/env bun
/**
 * The executable. What must start as fast as Bun itself is decided here, before anything is loaded: `--version`, a host of a node, and
 * a script of `rfaas run`. All else is a command of the tree.
 */
import { VERSION } from "./base/version.ts";

const [name, ...words] = process.argv.slice(2);
if (name === "--version" || name === "-V" || name === "version") await printVersion();
else if (name === "__host") await runHost();
else if (name === "run") await runScript();
else await runCommandLine([name, ...words].filter((word) => word !== undefined));

async function printVersion(): Promise<void> {
  try {
    // Making `process.stdout` alone would take as long as the start of Bun.
    await Bun.write(Bun.stdout, `rfaas ${VERSION}\n`);
  } catch (error) {
    (await import("./commands/tree.ts")).outputFailed(error);
  }
}

async function runHost(): Promise<void> {
  await (await import("./commands/internal/host.ts")).runHostProcess(words);
}

async function runScript(): Promise<void> {
  const { findScript, startScript, takeSandbox } = await import("./commands/run/script.ts");
  const own = takeSandbox(words);
  const found = findScript(own);
  // Words behind the name of a missing script are the script's, and not for the command to judge.
  if (!found) return await runCommandLine(["run", ...own.slice(0, own[0] === "--" ? 2 : 1)]);
  await startScript(found);
}

async function runCommandLine(argv: string[]): Promise<void> {
  await (await import("./commands/tree.ts")).runCommandLine(argv);
}
