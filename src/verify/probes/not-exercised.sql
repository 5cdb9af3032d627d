-- title: it could not be proven
-- severity: error
-- why: No statement could be run whose outcome proves anything: a green answer would be a guess.
-- bad: -
-- good: -
-- fix: Give the verifier what the detail says it lacks, add rows, or declare an exception of kind unproven with its reason.
-- source: -
{statement}
