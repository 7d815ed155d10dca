/** `rfaas help`: the pages of the manual, as text or for `man`. */
import { Type } from "@sinclair/typebox";
import { UsageError } from "../../base/errors.ts";
import { truth } from "../../options/fields.ts";
import { commandsOf, defineCommand } from "../shared/command.ts";
import { manual, overview } from "../shared/manual.ts";
import { manPages } from "./man.ts";

export const help = defineCommand({
  usage: "help [command]",
  summary: "tell what a command does and takes",
  description: `Prints the manual of a command, as --help behind the command does; without one, an overview.

With --man it prints the page for man(1): rfaas(1), or rfaas-COMMAND(1).`,
  options: Type.Object({
    man: Type.Optional(truth({ description: "in the format of man pages, roff" })),
  }),
  examples: [
    ["rfaas help invoke", "all that invoke takes"],
    ["rfaas help --man invoke | man -l -", "the same in man"],
  ],
  completes: ([name]) => (name === undefined ? "command" : undefined),
  async run([name, ...more], { man }, _rest, tree) {
    if (more.length > 0) throw new UsageError(`help takes one command; "${more[0]}" is too many`);
    if (name === undefined && !man)
      return void process.stdout.write(overview(await commandsOf(tree)));
    if (!man) return void process.stdout.write(manual(await tree.load(name!)));
    if (name !== undefined) await tree.load(name);
    const wanted = name === undefined ? "rfaas.1" : `rfaas-${name}.1`;
    const page = manPages(await commandsOf(tree)).find((one) => one.name === wanted);
    if (!page) throw new UsageError(`${name} is for rfaas's own use and has no page`);
    process.stdout.write(page.text);
  },
});
