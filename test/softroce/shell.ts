/**
 * Boots a guest, runs a command of bash in it, in the repository's folder, and powers it off:
 *
 *     bun test/softroce/shell.ts "rdma link && ib_write_lat --help"
 */
import { Guest } from "./guest.ts";

const command = process.argv.slice(2).join(" ");
if (command === "") {
  console.error('usage: bun test/softroce/shell.ts "command"');
  process.exit(2);
}
await using guest = await Guest.boot({ name: "shell" });
const started = guest.start(command, { onOutput: (text) => process.stdout.write(text) });
process.exitCode = await started.exited;
