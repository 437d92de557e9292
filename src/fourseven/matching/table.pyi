from fourseven.matching.records import Field as Field
from fourseven.matching.records import Test as Test
