/** What a dataset fixes of a model, as specs and tasks carry it: absent where a family has no use for it. */
import { z } from 'zod'

export const DATA_SHAPE_FIELDS = {
  classes: z.int().min(2).max(1000).optional(),
  vocabulary: z.int().min(2).max(262_144).optional(),
  features: z.int().min(1).max(1_000_000).optional(),
  height: z.int().min(1).max(1024).optional(),
  width: z.int().min(1).max(1024).optional(),
  channels: z.int().min(1).max(4).optional(),
}

const DataShapeSchema = z.object(DATA_SHAPE_FIELDS)

/** The part of a spec or a summary that is the data's shape, and nothing else. */
export function dataShapeOf(fields: z.infer<typeof DataShapeSchema>) {
  const { classes, vocabulary, features, height, width, channels } = fields
  return { classes, vocabulary, features, height, width, channels }
}
