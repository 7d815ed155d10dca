/** `rfaas run` as the tree knows it: its manual, and why there is no script to run. `script.ts` runs one. */
import { readdirSync, statSync } from "node:fs";
import { basename, dirname, resolve } from "node:path";
import { Type } from "@sinclair/typebox";
import { UsageError } from "../../base/errors.ts";
import { nearest } from "../../base/near-names.ts";
import { reasonOf } from "../../base/system-errors.ts";
import { InvokerOptions } from "../../client/options/connect-options.ts";
import { worded } from "../../options/fields.ts";
import { defineCommand } from "../shared/command.ts";

const SCRIPT = /\.[cm]?[jt]sx?$/;

export const run = defineCommand({
  usage: "run <script> [args]",
  summary: "run a script that calls functions",
  description: `Runs a script of TypeScript or JavaScript as bun does; neither Bun nor a package need be installed. The script imports rfaas,
rfaas/function and rfaas/testing from this executable, TypeBox, too, if none is installed, and other packages from its folder, whose
tsconfig.json holds. All words behind the script are its own. - is a script on standard input.

The executable's own library is the one that scripts get, even where rfaas is installed in node_modules; another version there, whose
types may differ, is told on stderr. Threads (Worker) and processes of child_process.fork may import rfaas, too. A process that the
script starts by process.execPath is rfaas: give it process.execArgv first. Neither .env nor bunfig.toml is read; process.loadEnvFile()
reads .env. Packages that are missing are not fetched.`,
  options: Type.Object({
    sandbox: worded(InvokerOptions.properties.sandbox, {
      description: "before the script: what keeps the functions of its private nodes apart",
    }),
  }),
  examples: [
    ["rfaas run client.ts --rounds 3", "runs client.ts, which finds --rounds 3 in process.argv"],
    ["rfaas run - < client.ts", "a script on standard input"],
    ["#!/usr/bin/env -S rfaas run", "the first line of a script that can be executed"],
  ],
  completes: () => "file",
  async run([named]) {
    if (named === undefined)
      throw new UsageError("run takes a script, such as: rfaas run client.ts; see: rfaas help run");
    throw new UsageError(refusal(named));
  },
});

/** Why a script cannot be run. */
function refusal(named: string): string {
  if (/[?\\]/.test(named))
    return `${named} cannot be run, since the runtime takes no ? or \\ in a script's path; rename it`;
  const path = resolve(named);
  try {
    return statSync(path).isDirectory()
      ? `${named} is a folder; name a script${inFolder(path)}`
      : `${named} cannot be run; name a script of TypeScript or JavaScript`;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code !== "ENOENT")
      return `${named} cannot be read: ${reasonOf(error)}; name another script`;
    const near = nearest(basename(named), scriptsIn(dirname(path)));
    return `there is no file ${named}; ${near === undefined ? `name a script${inFolder(dirname(path))}` : `did you mean ${near}?`}`;
  }
}

function inFolder(folder: string): string {
  const [first] = scriptsIn(folder);
  return first === undefined ? " by its path" : `, such as ${first}`;
}

function scriptsIn(folder: string): string[] {
  try {
    return readdirSync(folder)
      .filter((name) => SCRIPT.test(name))
      .toSorted();
  } catch {
    return [];
  }
}
