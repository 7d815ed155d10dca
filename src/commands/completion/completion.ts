/** `rfaas completion`: prints what a shell loads to complete command lines of rfaas. */
import { Type } from "@sinclair/typebox";
import { UsageError } from "../../base/errors.ts";
import { defineCommand } from "../shared/command.ts";
import { SHELLS, completionScript } from "./scripts.ts";

export const completion = defineCommand({
  usage: `completion <${SHELLS.join("|")}>`,
  summary: "print what a shell needs to complete rfaas's words",
  description: `Commands, options and their values, files, functions of a module (fn.ts#), names and addresses of nodes, packages: the Tab key
completes them once the shell has loaded this.

bash  in ~/.bashrc: source <(rfaas completion bash)
zsh   rfaas completion zsh > ~/.zfunc/_rfaas, with fpath+=(~/.zfunc) before compinit in ~/.zshrc
fish  rfaas completion fish > ~/.config/fish/completions/rfaas.fish

Names of nodes come from the manager of --http, --manager, RFAAS_HTTP or RFAAS_MANAGER. What does not answer within 200 ms is
left out.`,
  options: Type.Object({}),
  examples: [["rfaas completion bash", "for bash"]],
  async run([name, ...more]) {
    const shell = SHELLS.find((known) => known === name);
    if (shell === undefined || more.length > 0)
      throw new UsageError(
        `completion takes the name of one shell: ${SHELLS.join(", ")}; see: rfaas help completion`,
      );
    process.stdout.write(completionScript(shell));
  },
});
