/** Fields that many messages have. */
import { Type } from "@sinclair/typebox";

export const count = Type.Integer({ minimum: 1, maximum: 0xffffffff });
export const index = Type.Integer({ minimum: 0, maximum: 0xffffffff });
export const text = Type.String({ maxLength: 64 * 1024 });
