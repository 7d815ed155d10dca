import { Type } from "@sinclair/typebox";
import { describeBundle } from "../../package/bundle/fresh-bundle.ts";
import type { Command } from "../shared/command.ts";
import { listOf, readOptions, texts } from "../shared/options.ts";

const Options = Type.Object({ external: Type.Optional(texts) });

/** Compiles a module for another process, whose own compiler has seen older files. */
export const bundle: Command = {
  usage: "__bundle <module>",
  summary: "bundle a module for the process that started this one",
  description: "",
  options: [{ flag: "--external <name>", description: "npm package to bring along unbundled" }],
  examples: [],
  hidden: true,
  async run([module], raw) {
    const { external } = readOptions(Options, raw);
    await Bun.write(Bun.stdout, await describeBundle(String(module), listOf(external)));
  },
};
