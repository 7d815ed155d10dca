/** `rfaas new`: a small project of functions that works and is tested. */
import { existsSync, mkdirSync, readdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import { Type } from "@sinclair/typebox";
import { EnvironmentError, UsageError } from "../../base/errors.ts";
import { reasonOf } from "../../base/system-errors.ts";
import { loadKit } from "./kit.ts";
import { projectFiles } from "./project.ts";
import { truth } from "../../options/fields.ts";
import { defineCommand } from "../shared/command.ts";

const KIT_FOLDER = ".rfaas";
const MAX_NAME_CHARACTERS = 64;

export const newProject = defineCommand({
  usage: "new [name]",
  summary: "write a small project of functions, with its test",
  description: `Writes a folder with a typed function, a test for it, and what editors and tests need of rfaas. Nothing is fetched. The last part
of the name is the function file's; an existing folder must be empty.

With --kit and no name, brings the .rfaas folder of the project in this folder up to this executable's version.`,
  options: Type.Object({
    kit: Type.Optional(truth({ description: "write only .rfaas, into this folder" })),
  }),
  examples: [
    ["rfaas new summary", "makes summary/summary.ts and its test"],
    ["rfaas new --kit", "after an update of rfaas, in a project's folder"],
  ],
  async run(args, { kit }) {
    if (args.length > 1 || (args.length === 1) === Boolean(kit))
      throw new UsageError("new takes one name, or --kit; see: rfaas help new");
    if (kit) return await write(process.cwd(), {});
    const folder = resolve(args[0]!);
    const name = basename(folder);
    if (!/^[a-z][a-z0-9-]*$/.test(name) || name.length > MAX_NAME_CHARACTERS)
      throw new UsageError(
        `a project's name is small letters, digits and -, such as my-function; it is ${JSON.stringify(name)}`,
      );
    if (existsSync(folder) && readdirSync(folder).length > 0)
      throw new UsageError(`${folder} is there and not empty; choose another name`);
    await write(folder, projectFiles(name));
    process.stdout.write(
      `made ${args[0]}: ${name}.ts, ${name}.test.ts\n\n  cd ${args[0]}\n  rfaas test\n  rfaas invoke ${name}.ts#summarize --json '{"samples":[1,2,3,4]}'\n`,
    );
  },
});

async function write(folder: string, files: Record<string, string>): Promise<void> {
  const kit = await loadKit();
  const inKit = Object.entries(kit).map(([path, text]) => [join(KIT_FOLDER, path), text] as const);
  try {
    rmSync(join(folder, KIT_FOLDER), { recursive: true, force: true });
    for (const [path, text] of [...Object.entries(files), ...inKit]) {
      const place = join(folder, path);
      mkdirSync(dirname(place), { recursive: true });
      writeFileSync(place, text);
    }
    // As `bun install` would leave it.
    const link = join(folder, "node_modules", "rfaas");
    rmSync(link, { recursive: true, force: true });
    mkdirSync(dirname(link), { recursive: true });
    symlinkSync(join("..", KIT_FOLDER), link);
  } catch (error) {
    throw new EnvironmentError(
      `${folder} cannot be written: ${reasonOf(error)}; choose a folder of yours, with room`,
      { cause: error },
    );
  }
}
