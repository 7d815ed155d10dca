/** The reference of commands: their manual pages, as `rfaas help` prints them. */
import { nameOf } from "../../src/commands/shared/command.ts";
import { manual, overview } from "../../src/commands/shared/manual.ts";
import { visibleCommands } from "../../src/commands/tree.ts";

export async function commandsPage(): Promise<string> {
  const commands = await visibleCommands();
  const pages = commands.map((command) => [
    `## rfaas ${nameOf(command)}`,
    block(manual(command, "own")),
  ]);
  return `${[
    "# Commands",
    "As `rfaas help` and `rfaas help COMMAND` print them; written by `bun run build/reference.ts`.",
    block(overview(commands)),
    ...pages.flat(),
  ].join("\n\n")}\n`;
}

const block = (text: string): string => `\`\`\`text\n${text}\`\`\``;
