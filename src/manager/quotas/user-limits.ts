/** The manager's table of what users may hold, in its state directory. */
import { join } from "node:path";
import { UserLimits } from "../../protocol/tokens/limits.ts";
import { FileRecords } from "../state/records.ts";
import { createStateDir } from "../state/state.ts";

const FILE_NAME = "users.json";

/** By the names of users. The directory is made where it is missing. Throws `EnvironmentError` for a file that is damaged. */
export function userLimits(stateDir: string): FileRecords<typeof UserLimits> {
  createStateDir(stateDir);
  return new FileRecords(join(stateDir, FILE_NAME), UserLimits);
}
