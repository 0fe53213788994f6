/* `sway`: turns a little to the left and back, `times` times (1 to 10, default 3). In C, by
 * clang and wit-bindgen; build.sh has the commands. */

#include "skill.h"
#include <string.h>

#define ONE_WAY_NS 500000000u
#define TURN_RADPS 0.6

static uint64_t began_ns, times = 3, before, ways;
static bool has_begun;

static bool is(const skill_string_t *text, const char *word) {
  return text->len == strlen(word) && memcmp(text->ptr, word, text->len) == 0;
}

bool exports_skill_init(skill_string_t *action, skill_list_tuple2_string_param_t *params,
                        skill_string_t *err) {
  skill_string_free(action);
  bool fits = true;
  for (size_t i = 0; i < params->len; i++) {
    const skill_param_t *value = &params->ptr[i].f1;
    fits &= is(&params->ptr[i].f0, "times") && value->tag == NOOTERRA_SKILL_TYPES_PARAM_NUMBER &&
            value->val.number >= 1 && value->val.number <= 10;
    if (fits) times = (uint64_t)value->val.number;
  }
  skill_list_tuple2_string_param_free(params);
  if (!fits) skill_string_dup(err, "write times = 1 to 10, and nothing else");
  return fits;
}

void exports_skill_step(skill_observation_t *seen, skill_tuple2_request_status_t *ret) {
  if (!has_begun) began_ns = seen->at_nanos;
  has_begun = true;
  ways = before + (seen->at_nanos - began_ns) / ONE_WAY_NS;
  skill_observation_free(seen);
  memset(ret, 0, sizeof *ret);
  if (ways >= 2 * times) {
    skill_string_t name;
    nooterra_skill_checkpoint_refusal_t refusal;
    skill_string_set(&name, "swayed");
    nooterra_skill_checkpoint_reached(&name, &refusal);
    ret->f0.tag = NOOTERRA_SKILL_TYPES_REQUEST_STOP;
    ret->f1.tag = NOOTERRA_SKILL_TYPES_STATUS_DONE;
    return;
  }
  ret->f0.tag = NOOTERRA_SKILL_TYPES_REQUEST_DRIVE;
  ret->f0.val.drive.angular = ways % 2 == 0 ? TURN_RADPS : -TURN_RADPS;
  ret->f1.tag = NOOTERRA_SKILL_TYPES_STATUS_RUNNING;
  ret->f1.val.running.fraction = (double)ways / (double)(2 * times);
  skill_string_dup(&ret->f1.val.running.note, "swaying");
}

void exports_skill_suspend(skill_list_u8_t *ret) {
  skill_string_t copy;
  skill_string_dup_n(&copy, (const char *)&ways, sizeof ways);
  ret->ptr = copy.ptr;
  ret->len = copy.len;
}

bool exports_skill_resume(skill_list_u8_t *state, skill_string_t *err) {
  bool fits = state->len == sizeof before;
  if (fits) memcpy(&before, state->ptr, sizeof before);
  skill_list_u8_free(state);
  if (!fits) skill_string_dup(err, "the state is of another version of this skill");
  return fits;
}
