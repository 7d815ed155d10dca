/** `rfaas new`: a small project of functions that works and is tested, with a client that calls them. */
import {
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import { Type } from "@sinclair/typebox";
import { EnvironmentError, UsageError } from "../../base/errors.ts";
import { shellWord } from "../../base/show.ts";
import { reasonOf } from "../../base/system-errors.ts";
import { KIT_FOLDER, type Kit, loadKit } from "./kit.ts";
import { CLIENT, projectFiles } from "./project.ts";
import { truth } from "../../options/fields.ts";
import { defineCommand } from "../shared/command.ts";

const MAX_NAME_CHARACTERS = 64;
/** What may lie in a folder that counts as empty. */
const IGNORED = new Set([".git"]);

export const newProject = defineCommand({
  usage: "new [folder]",
  summary: "write a small project of functions, with a client and a test",
  description: `Writes a typed function, a client that calls it, a test, and all that editors and tests need of rfaas and of Bun. Nothing is fetched.
The project lies in the folder that is named, which must be empty or not there yet, else in this one. No file is overwritten. The
folder's name becomes that of the function's file.

With --kit, brings what the project in this folder has of rfaas (.rfaas) up to this executable's version, and adds packages of types
that node_modules lacks, as after a git clone.`,
  options: Type.Object({
    kit: Type.Optional(truth({ description: "write only what rfaas gives, into this folder" })),
  }),
  examples: [
    ["rfaas new summary", "makes summary/summary.ts, its client and its test"],
    ["rfaas new", "makes a project of this empty folder"],
    ["rfaas new --kit", "after an update of rfaas, in a project's folder"],
  ],
  completes: () => "folder",
  async run(args, { kit }) {
    if (args.length > 1 || (kit && args.length > 0))
      throw new UsageError("new takes one folder, or --kit; see: rfaas help new");
    const [named = "."] = args;
    const folder = resolve(named);
    if (kit) {
      if (!existsSync(join(folder, "package.json")))
        throw new UsageError(
          `${folder} is no project: it has no package.json; make one with: rfaas new`,
        );
      return await write(folder, {});
    }
    refuseWhatIsThere(folder);
    const name = nameFor(folder);
    await write(folder, projectFiles(name));
    const shown =
      folder === process.cwd()
        ? []
        : [`  cd ${shellWord(named.startsWith("-") ? `./${named}` : named)}\n`];
    process.stdout.write(
      `made ${named}: ${name}.ts, ${CLIENT}, ${name}.test.ts\n\n${shown.join("")}  rfaas run ${CLIENT}\n  rfaas test\n  rfaas invoke ${name}.ts#summarize --json '{"samples":[1,2,3,4]}'\n`,
    );
  },
});

function refuseWhatIsThere(folder: string): void {
  const there = statSync(folder, { throwIfNoEntry: false });
  if (there && !there.isDirectory())
    throw new UsageError(`${folder} is there and no folder; choose another name`);
  if (there && readdirSync(folder).some((name) => !IGNORED.has(name)))
    throw new UsageError(`${folder} is there and not empty; choose another name`);
}

/** A name for files and for package.json, as near to the folder's as it may be. */
function nameFor(folder: string): string {
  const name = basename(folder)
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, "-")
    .replace(/^[^a-z]+|-+$/g, "")
    .slice(0, MAX_NAME_CHARACTERS);
  return name === "" || `${name}.ts` === CLIENT ? "functions" : name;
}

/** The project's files, and the kit. */
async function write(folder: string, files: Kit): Promise<void> {
  const kit = await loadKit();
  try {
    rmSync(join(folder, KIT_FOLDER), { recursive: true, force: true });
    // What npm has installed stays.
    const kept = new Set(
      [...new Set(Object.keys(kit).flatMap(packageOf))].filter(existsIn(folder)),
    );
    for (const [path, text] of [...Object.entries(files), ...Object.entries(kit)]) {
      if (packageOf(path).some((name) => kept.has(name))) continue;
      const place = join(folder, path);
      mkdirSync(dirname(place), { recursive: true });
      // The client's first line runs it.
      writeFileSync(place, text, { mode: text.startsWith("#!") ? 0o777 : 0o666 });
    }
    linkKit(join(folder, "node_modules", "rfaas"));
  } catch (error) {
    throw new EnvironmentError(
      `${folder} cannot be written: ${reasonOf(error)}; choose a folder of yours, with room`,
      { cause: error },
    );
  }
}

/** As `npm install` would leave it. A library that has been installed from elsewhere stays. */
function linkKit(link: string): void {
  const there = lstatSync(link, { throwIfNoEntry: false });
  if (there?.isDirectory()) return;
  if (there) rmSync(link);
  symlinkSync(join("..", KIT_FOLDER), link);
}

/** The folder of the package that a file belongs to; none for the project's own. */
function packageOf(path: string): string[] {
  return /^node_modules\/(?:@[^/]+\/)?[^/]+/.exec(path)?.slice(0, 1) ?? [];
}

const existsIn = (folder: string) => (path: string) => existsSync(join(folder, path));
